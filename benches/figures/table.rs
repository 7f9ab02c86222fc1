//! What was measured, and whether it holds.

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Ours is at most this, in the figure's unit.
    Most(f64),
    /// Ours ÷ the peer's is at most this.
    RatioMost(f64),
    /// Ours ÷ the peer's is at least this.
    RatioLeast(f64),
    /// Ours is at most the peer's, both being counts of events by chance, each event as many as this: within two standard
    /// deviations of the difference of two such counts.
    CountMost(f64),
    /// Told for its own sake.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The bench and what of it.
    pub name: String,
    /// What Boothcast does.
    pub ours: f64,
    /// Who stands beside it, and what that does in the same run.
    pub peer: Option<(&'static str, f64)>,
    /// Of both.
    pub unit: &'static str,
    /// What must hold.
    pub limit: Limit,
}

impl Figure {
    /// A figure of ours alone.
    pub fn new(name: impl Into<String>, ours: f64, unit: &'static str, limit: Limit) -> Figure {
        Figure { name: name.into(), ours, peer: None, unit, limit }
    }

    /// With a peer's.
    pub fn beside(mut self, who: &'static str, value: f64) -> Figure {
        self.peer = Some((who, value));
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.peer.filter(|(_, peer)| *peer > 0.0).map(|(_, peer)| self.ours / peer)
    }

    /// Whether the limit holds; a figure without one always does.
    pub fn holds(&self) -> bool {
        match self.limit {
            Limit::Most(most) => self.ours <= most,
            Limit::RatioMost(most) => self.ratio().is_some_and(|r| r <= most),
            Limit::RatioLeast(least) => self.ratio().is_some_and(|r| r >= least),
            Limit::CountMost(each) => self.peer.is_some_and(|(_, peer)| {
                let (ours, peer) = (self.ours / each, peer / each);
                ours - peer <= 2.0 * (ours + peer).sqrt()
            }),
            Limit::None => true,
        }
    }

    fn cells(&self) -> [String; 6] {
        let limit = match self.limit {
            Limit::Most(most) => format!("<= {} {}", short(most), self.unit),
            Limit::RatioMost(most) => format!("ratio <= {most}"),
            Limit::RatioLeast(least) => format!("ratio >= {least}"),
            Limit::CountMost(_) => "<= peer, by chance".to_owned(),
            Limit::None => String::new(),
        };
        let holds = match (self.limit, self.holds()) {
            (Limit::None, _) => "",
            (_, true) => "yes",
            (_, false) => "NO",
        };
        [
            self.name.clone(),
            format!("{} {}", short(self.ours), self.unit),
            self.peer.map_or(String::new(), |(who, value)| format!("{} ({who})", short(value))),
            self.ratio().map_or(String::new(), |r| format!("{r:.3}")),
            limit,
            holds.to_owned(),
        ]
    }
}

/// A number with four digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.5}"),
    }
}

/// All figures as one table in Markdown, its columns aligned.
pub fn table(figures: &[Figure]) -> String {
    let head = ["figure", "boothcast", "peer", "ratio", "limit", "holds"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(figures.iter().map(Figure::cells)).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            text += &format!("| {cell:width$} ");
        }
        text += "|\n";
        if n == 0 {
            for width in widths {
                text += &format!("|{}", "-".repeat(width + 2));
            }
            text += "|\n";
        }
    }
    text
}

/// The value at `part` (0 to 1) of the sorted values.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}
