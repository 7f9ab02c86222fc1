//! Languages: BCP 47 tags, their ISO 639-2/T codes for `mdhd`, and what speakers of a language call it.

use std::borrow::Cow;

/// Longest tag that is accepted. RFC 5646 §4.4.1 names 35 as what any application should hold; longer ones carry
/// private extensions that no player knows.
const MAX_TAG: usize = 35;

/// What stands for a floor where several languages are spoken: ISO 639-2 `mul`.
const MIXED: &str = "mul";

/// Why a tag was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Empty, or longer than any tag in use.
    #[error("a language tag has 2 to {MAX_TAG} characters, such as \"de\" or \"pt-BR\"")]
    Length,
    /// A subtag that is out of place.
    #[error(
        "this is no BCP 47 language tag: write the language first (\"de\"), then script and region (\"zh-Hant\", \"pt-BR\")"
    )]
    Syntax,
}

/// A BCP 47 tag (RFC 5646 §2.1) of language, script, region, variants, extensions: checked for syntax and put into the
/// form of §2.1.1: `PT-br` becomes `pt-BR`, `ZH-hant-tw` becomes `zh-Hant-TW`. Extended language subtags and tags of
/// private use alone are refused: `zh-yue` is written `yue`.
pub fn canonical(tag: &str) -> Result<String, TagError> {
    if tag.len() < 2 || tag.len() > MAX_TAG {
        return Err(TagError::Length);
    }
    let alpha = |s: &str| s.bytes().all(|b| b.is_ascii_alphabetic());
    let alphanumeric = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut subtags = tag.split('-').peekable();
    let language = subtags.next().filter(|s| matches!(s.len(), 2..=3 | 5..=8) && alpha(s)).ok_or(TagError::Syntax)?;
    let mut out = language.to_ascii_lowercase();
    if let Some(script) = subtags.next_if(|s| s.len() == 4 && alpha(s)) {
        let script = script.to_ascii_lowercase();
        out.push('-');
        out.extend(script.chars().take(1).map(|c| c.to_ascii_uppercase()));
        out.extend(script.chars().skip(1));
    }
    let is_region = |s: &&str| (s.len() == 2 && alpha(s)) || (s.len() == 3 && s.bytes().all(|b| b.is_ascii_digit()));
    if let Some(region) = subtags.next_if(is_region) {
        out.push('-');
        out.push_str(&region.to_ascii_uppercase());
    }
    let is_variant = |s: &&str| {
        alphanumeric(s) && (matches!(s.len(), 5..=8) || (s.len() == 4 && s.starts_with(|c: char| c.is_ascii_digit())))
    };
    while let Some(variant) = subtags.next_if(is_variant) {
        out.push('-');
        out.push_str(&variant.to_ascii_lowercase());
    }
    // Extensions and private use: a singleton, then at least one subtag.
    while let Some(singleton) = subtags.next() {
        let least = if singleton.eq_ignore_ascii_case("x") { 1 } else { 2 };
        if singleton.len() != 1 || !alphanumeric(singleton) {
            return Err(TagError::Syntax);
        }
        out.push('-');
        out.push_str(&singleton.to_ascii_lowercase());
        let mut count = 0;
        while let Some(s) = subtags.next_if(|s| (least..=8).contains(&s.len()) && alphanumeric(s)) {
            out.push('-');
            out.push_str(&s.to_ascii_lowercase());
            count += 1;
        }
        if count == 0 {
            return Err(TagError::Syntax);
        }
    }
    Ok(out)
}

/// The tag as playlists and manifests carry it. A mixed floor (`original`) is `mul`.
pub fn tag(language: &str) -> Cow<'_, str> {
    if language == "original" { Cow::Borrowed(MIXED) } else { Cow::Borrowed(language) }
}

fn primary(tag: &str) -> &str {
    tag.split('-').next().unwrap_or(tag)
}

fn entry(tag: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    let primary = primary(tag);
    LANGUAGES.iter().find(|(one, three, _)| one.eq_ignore_ascii_case(primary) || three.eq_ignore_ascii_case(primary))
}

/// The ISO 639-2/T code of a tag, as `mdhd` holds it (ISO/IEC 14496-12 §8.4.2.3): `und` when there is none.
pub fn iso639_2(language: &str) -> Cow<'_, str> {
    if language == "original" {
        return Cow::Borrowed(MIXED);
    }
    if let Some((_, three, _)) = entry(language) {
        return Cow::Borrowed(three);
    }
    let primary = primary(language);
    if primary.len() == 3 && primary.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Cow::Owned(primary.to_ascii_lowercase());
    }
    Cow::Borrowed("und")
}

/// What a language calls itself, for menus: "Deutsch", "Português (Brasil)". A tag that is not in the table is shown as
/// it is.
pub fn autonym(language: &str) -> Cow<'_, str> {
    if let Some((_, name)) = VARIANTS.iter().find(|(t, _)| t.eq_ignore_ascii_case(language)) {
        return Cow::Borrowed(name);
    }
    let language = if language == "original" { MIXED } else { language };
    match (entry(language), language.split_once('-')) {
        (Some((_, _, name)), None) => Cow::Borrowed(name),
        (Some((_, _, name)), Some((_, rest))) => Cow::Owned(format!("{name} ({rest})")),
        (None, _) => Cow::Borrowed(language),
    }
}

/// Names of tags that are more than a language.
const VARIANTS: &[(&str, &str)] = &[
    ("de-AT", "Deutsch (Österreich)"),
    ("de-CH", "Deutsch (Schweiz)"),
    ("de-DE", "Deutsch (Deutschland)"),
    ("en-AU", "English (Australia)"),
    ("en-GB", "English (United Kingdom)"),
    ("en-IE", "English (Ireland)"),
    ("en-US", "English (United States)"),
    ("es-419", "Español (Latinoamérica)"),
    ("es-ES", "Español (España)"),
    ("es-MX", "Español (México)"),
    ("fr-BE", "Français (Belgique)"),
    ("fr-CA", "Français (Canada)"),
    ("fr-CH", "Français (Suisse)"),
    ("fr-FR", "Français (France)"),
    ("it-CH", "Italiano (Svizzera)"),
    ("nl-BE", "Nederlands (België)"),
    ("nl-NL", "Nederlands (Nederland)"),
    ("pt-BR", "Português (Brasil)"),
    ("pt-PT", "Português (Portugal)"),
    ("sr-Cyrl", "Српски"),
    ("sr-Latn", "Srpski"),
    ("zh-CN", "中文（中国）"),
    ("zh-HK", "中文（香港）"),
    ("zh-Hans", "简体中文"),
    ("zh-Hant", "繁體中文"),
    ("zh-TW", "中文（台灣）"),
];

/// ISO 639-1, ISO 639-2/T and the language's own name. Languages without a two-letter code have an empty one.
const LANGUAGES: &[(&str, &str, &str)] = &[
    ("af", "afr", "Afrikaans"),
    ("am", "amh", "አማርኛ"),
    ("ar", "ara", "العربية"),
    ("as", "asm", "অসমীয়া"),
    ("az", "aze", "Azərbaycanca"),
    ("be", "bel", "Беларуская"),
    ("bg", "bul", "Български"),
    ("bn", "ben", "বাংলা"),
    ("bo", "bod", "བོད་སྐད་"),
    ("br", "bre", "Brezhoneg"),
    ("bs", "bos", "Bosanski"),
    ("ca", "cat", "Català"),
    ("co", "cos", "Corsu"),
    ("cs", "ces", "Čeština"),
    ("cy", "cym", "Cymraeg"),
    ("da", "dan", "Dansk"),
    ("de", "deu", "Deutsch"),
    ("dz", "dzo", "རྫོང་ཁ"),
    ("el", "ell", "Ελληνικά"),
    ("en", "eng", "English"),
    ("eo", "epo", "Esperanto"),
    ("es", "spa", "Español"),
    ("et", "est", "Eesti"),
    ("eu", "eus", "Euskara"),
    ("fa", "fas", "فارسی"),
    ("fi", "fin", "Suomi"),
    ("fj", "fij", "Na Vosa Vakaviti"),
    ("fo", "fao", "Føroyskt"),
    ("fr", "fra", "Français"),
    ("fy", "fry", "Frysk"),
    ("ga", "gle", "Gaeilge"),
    ("gd", "gla", "Gàidhlig"),
    ("gl", "glg", "Galego"),
    ("gn", "grn", "Avañe'ẽ"),
    ("gu", "guj", "ગુજરાતી"),
    ("ha", "hau", "Hausa"),
    ("he", "heb", "עברית"),
    ("hi", "hin", "हिन्दी"),
    ("hr", "hrv", "Hrvatski"),
    ("ht", "hat", "Kreyòl Ayisyen"),
    ("hu", "hun", "Magyar"),
    ("hy", "hye", "Հայերեն"),
    ("id", "ind", "Bahasa Indonesia"),
    ("ig", "ibo", "Igbo"),
    ("is", "isl", "Íslenska"),
    ("it", "ita", "Italiano"),
    ("iu", "iku", "ᐃᓄᒃᑎᑐᑦ"),
    ("ja", "jpn", "日本語"),
    ("jv", "jav", "Basa Jawa"),
    ("ka", "kat", "ქართული"),
    ("kk", "kaz", "Қазақша"),
    ("kl", "kal", "Kalaallisut"),
    ("km", "khm", "ខ្មែរ"),
    ("kn", "kan", "ಕನ್ನಡ"),
    ("ko", "kor", "한국어"),
    ("ku", "kur", "Kurdî"),
    ("ky", "kir", "Кыргызча"),
    ("la", "lat", "Latina"),
    ("lb", "ltz", "Lëtzebuergesch"),
    ("ln", "lin", "Lingála"),
    ("lo", "lao", "ລາວ"),
    ("lt", "lit", "Lietuvių"),
    ("lv", "lav", "Latviešu"),
    ("mg", "mlg", "Malagasy"),
    ("mi", "mri", "Te Reo Māori"),
    ("mk", "mkd", "Македонски"),
    ("ml", "mal", "മലയാളം"),
    ("mn", "mon", "Монгол"),
    ("mr", "mar", "मराठी"),
    ("ms", "msa", "Bahasa Melayu"),
    ("mt", "mlt", "Malti"),
    ("my", "mya", "မြန်မာ"),
    ("nb", "nob", "Norsk bokmål"),
    ("ne", "nep", "नेपाली"),
    ("nl", "nld", "Nederlands"),
    ("nn", "nno", "Norsk nynorsk"),
    ("no", "nor", "Norsk"),
    ("ny", "nya", "Chichewa"),
    ("oc", "oci", "Occitan"),
    ("om", "orm", "Afaan Oromoo"),
    ("or", "ori", "ଓଡ଼ିଆ"),
    ("pa", "pan", "ਪੰਜਾਬੀ"),
    ("pl", "pol", "Polski"),
    ("ps", "pus", "پښتو"),
    ("pt", "por", "Português"),
    ("qu", "que", "Runa Simi"),
    ("rm", "roh", "Rumantsch"),
    ("rn", "run", "Ikirundi"),
    ("ro", "ron", "Română"),
    ("ru", "rus", "Русский"),
    ("rw", "kin", "Ikinyarwanda"),
    ("sc", "srd", "Sardu"),
    ("sd", "snd", "سنڌي"),
    ("se", "sme", "Davvisámegiella"),
    ("si", "sin", "සිංහල"),
    ("sk", "slk", "Slovenčina"),
    ("sl", "slv", "Slovenščina"),
    ("sm", "smo", "Gagana Sāmoa"),
    ("sn", "sna", "ChiShona"),
    ("so", "som", "Soomaali"),
    ("sq", "sqi", "Shqip"),
    ("sr", "srp", "Српски"),
    ("ss", "ssw", "SiSwati"),
    ("st", "sot", "Sesotho"),
    ("su", "sun", "Basa Sunda"),
    ("sv", "swe", "Svenska"),
    ("sw", "swa", "Kiswahili"),
    ("ta", "tam", "தமிழ்"),
    ("te", "tel", "తెలుగు"),
    ("tg", "tgk", "Тоҷикӣ"),
    ("th", "tha", "ไทย"),
    ("ti", "tir", "ትግርኛ"),
    ("tk", "tuk", "Türkmençe"),
    ("tl", "tgl", "Tagalog"),
    ("tn", "tsn", "Setswana"),
    ("to", "ton", "Lea faka-Tonga"),
    ("tr", "tur", "Türkçe"),
    ("tt", "tat", "Татарча"),
    ("ug", "uig", "ئۇيغۇرچە"),
    ("uk", "ukr", "Українська"),
    ("ur", "urd", "اردو"),
    ("uz", "uzb", "Oʻzbekcha"),
    ("vi", "vie", "Tiếng Việt"),
    ("wo", "wol", "Wolof"),
    ("xh", "xho", "isiXhosa"),
    ("yi", "yid", "ייִדיש"),
    ("yo", "yor", "Yorùbá"),
    ("zh", "zho", "中文"),
    ("zu", "zul", "isiZulu"),
    ("", "ase", "American Sign Language"),
    ("", "bfi", "British Sign Language"),
    ("", "ckb", "کوردیی ناوەندی"),
    ("", "cmn", "普通话"),
    ("", "fil", "Filipino"),
    ("", "gsg", "Deutsche Gebärdensprache"),
    ("", "gsw", "Schwiizerdütsch"),
    ("", "hsb", "Hornjoserbšćina"),
    ("", "mul", "Original"),
    ("", "yue", "粵語"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_take_their_canonical_form() {
        for (given, want) in [
            ("de", "de"),
            ("PT-br", "pt-BR"),
            ("ZH-hant-tw", "zh-Hant-TW"),
            ("sr-latn", "sr-Latn"),
            ("es-419", "es-419"),
            ("sl-rozaj-1994", "sl-rozaj-1994"),
            ("de-DE-u-co-phonebk", "de-DE-u-co-phonebk"),
            ("en-x-a", "en-x-a"),
            ("yue", "yue"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(want), "{given}");
        }
        for bad in
            ["", "d", "d1", "de-", "-de", "de--AT", "de_AT", "en-\"", "x-private", "de-u", "en US", "qaaa", "日本"]
        {
            assert!(canonical(bad).is_err(), "{bad}");
        }
        assert_eq!(canonical(&"a-".repeat(40)), Err(TagError::Length));
    }

    #[test]
    fn the_table_is_sound() {
        assert!(LANGUAGES.len() >= 80);
        for (i, (one, three, name)) in LANGUAGES.iter().enumerate() {
            assert!(one.is_empty() || one.len() == 2, "{one}");
            assert_eq!(three.len(), 3, "{three}");
            assert!(!name.is_empty() && !name.contains('"'));
            for (other_one, other_three, _) in &LANGUAGES[..i] {
                assert!(three != other_three && (one.is_empty() || one != other_one), "{three} stands twice");
            }
        }
        for (tag, _) in VARIANTS {
            assert_eq!(canonical(tag).as_deref(), Ok(*tag));
            assert!(entry(tag).is_some(), "{tag}");
        }
    }

    #[test]
    fn names_and_codes() {
        assert_eq!((iso639_2("de"), autonym("de")), ("deu".into(), "Deutsch".into()));
        assert_eq!((iso639_2("deu"), autonym("deu")), ("deu".into(), "Deutsch".into()));
        assert_eq!((iso639_2("pt-BR"), autonym("pt-BR")), ("por".into(), "Português (Brasil)".into()));
        assert_eq!(autonym("pt-AO"), "Português (AO)");
        assert_eq!(
            (iso639_2("zh-Hant-TW"), iso639_2("hak"), iso639_2("qq")),
            ("zho".into(), "hak".into(), "und".into())
        );
        assert_eq!((tag("original"), iso639_2("original")), ("mul".into(), "mul".into()));
        assert_eq!((autonym("hak"), autonym("original")), ("hak".into(), "Original".into()));
    }
}
