// Draws openapi.json. Text goes into the page as text only, so nothing in the description can become markup.

const METHODS = ['get', 'post', 'put', 'patch', 'delete']

const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  element.append(...children.filter((child) => child !== null && child !== undefined))
  return element
}

/** `code` between backticks, paragraphs at empty lines. */
const prose = (text = '') =>
  text
    .split('\n\n')
    .filter((paragraph) => paragraph.trim() !== '')
    .map((paragraph) =>
      make('p', {}, ...paragraph.split('`').map((piece, i) => (i % 2 === 1 ? make('code', {}, piece) : piece))),
    )

const nameOf = (ref) => ref.split('/').at(-1)

/** What a schema is, in a few words. */
const typeOf = (schema) => {
  if (!schema) return ''
  if (schema.$ref) return make('a', { href: `#schema-${nameOf(schema.$ref)}` }, nameOf(schema.$ref))
  const variants = schema.oneOf ?? schema.anyOf ?? schema.allOf
  if (variants) {
    const parts = variants.flatMap((variant, i) => (i === 0 ? [typeOf(variant)] : [' or ', typeOf(variant)]))
    return make('span', {}, ...parts)
  }
  if (schema.enum) return make('span', {}, schema.enum.map((value) => JSON.stringify(value)).join(', '))
  const types = [schema.type ?? 'any'].flat()
  if (types.includes('array')) {
    const rest = types.filter((type) => type !== 'array')
    return make('span', {}, 'list of ', typeOf(schema.items), ...rest.map((type) => ` or ${type}`))
  }
  if (types.includes('object') && schema.additionalProperties && typeof schema.additionalProperties === 'object') {
    return make('span', {}, 'map of ', typeOf(schema.additionalProperties))
  }
  return make('span', {}, types.join(' or ') + (schema.format ? ` (${schema.format})` : ''))
}

/** `label` names the part for those who come to it by keyboard, since it may have to be scrolled. */
const table = (label, head, rows) =>
  make(
    'div',
    { class: 'wide', tabindex: '0', role: 'region', 'aria-label': label },
    make(
      'table',
      {},
      make('thead', {}, make('tr', {}, ...head.map((cell) => make('th', { scope: 'col' }, cell)))),
      make('tbody', {}, ...rows.map((row) => make('tr', {}, ...row.map((cell) => make('td', {}, ...[cell].flat()))))),
    ),
  )

const needed = (yes) => (yes ? make('span', { class: 'needed' }, ' needed') : '')

const propertiesOf = (name, schema) =>
  table(
    `Fields of ${name}`,
    ['Field', 'Type', 'Meaning'],
    Object.entries(schema.properties ?? {}).map(([name, property]) => [
      [make('code', {}, name), needed(schema.required?.includes(name))],
      typeOf(property),
      prose(property.description),
    ]),
  )

const bodyOf = (content) =>
  Object.entries(content ?? {}).flatMap(([type, media], i) => [i > 0 ? ' or ' : '', make('code', {}, type), ' ', typeOf(media.schema)])

const draw = (description) => {
  const main = document.getElementById('content')
  const nav = make('details', {}, make('summary', {}, 'Contents'))
  // Beside the text where there is room; folded above it where there is none.
  const narrow = matchMedia('(max-width: 48rem)')
  const fold = () => (nav.open = !narrow.matches)
  narrow.addEventListener('change', fold)
  fold()
  nav.addEventListener('click', (event) => {
    if (narrow.matches && event.target.closest('a')) nav.open = false
  })
  document.getElementById('nav').replaceChildren(nav)
  main.replaceChildren(
    make('h1', {}, `${description.info.title} API`),
    make('p', {}, `Version ${description.info.version} · `, make('a', { href: 'v1/openapi.json' }, 'openapi.json')),
    ...prose(description.info.description),
  )
  const operations = Object.entries(description.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]).map((method) => ({ path, method, ...item[method] })),
  )
  for (const { name, description: about } of description.tags) {
    const list = make('ul')
    main.append(make('h2', {}, name), ...prose(about))
    nav.append(make('h2', {}, name), list)
    for (const operation of operations.filter((o) => o.tags?.includes(name))) {
      const id = `${operation.method}${operation.path}`.replaceAll(/[^a-z0-9]+/gi, '-')
      const method = () => make('span', { class: `method ${operation.method}` }, operation.method)
      list.append(make('li', {}, make('a', { href: `#${id}` }, method(), ` ${operation.path.replace('/api/v1', '')}`)))
      const parameters = operation.parameters ?? []
      main.append(
        make(
          'article',
          { id },
          make(
            'h3',
            {},
            method(),
            make('code', {}, operation.path),
            make('span', { class: 'role' }, operation['x-role'] ?? 'public'),
          ),
          ...prose(operation.summary),
          ...prose(operation.description),
          ...(parameters.length > 0 ? [make('h4', {}, 'Parameters')] : []),
          ...(parameters.length > 0
            ? [
                table(
                  `Parameters of ${operation.method} ${operation.path}`,
                  ['Name', 'Type', 'Meaning'],
                  parameters.map((p) => [[make('code', {}, p.name), needed(p.required)], typeOf(p.schema), prose(p.description)]),
                ),
              ]
            : []),
          ...(operation.requestBody
            ? [make('h4', {}, 'Body'), make('p', {}, ...bodyOf(operation.requestBody.content))]
            : []),
          make('h4', {}, 'Answers'),
          table(
            `Answers of ${operation.method} ${operation.path}`,
            ['Status', 'Meaning', 'Body'],
            Object.entries(operation.responses).map(([status, response]) => [
              make('code', {}, status),
              prose(response.description),
              bodyOf(response.content),
            ]),
          ),
        ),
      )
    }
  }
  const list = make('ul')
  main.append(make('h2', {}, 'Schemas'))
  nav.append(make('h2', {}, 'Schemas'), list)
  for (const [name, schema] of Object.entries(description.components.schemas)) {
    list.append(make('li', {}, make('a', { href: `#schema-${name}` }, name)))
    main.append(
      make(
        'article',
        { id: `schema-${name}` },
        make('h3', {}, make('code', {}, name)),
        ...prose(schema.description),
        schema.properties ? propertiesOf(name, schema) : make('p', {}, typeOf(schema)),
      ),
    )
  }
  // The address may have named a part that was not there yet.
  if (location.hash.length > 1) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView()
}

try {
  const answer = await fetch('v1/openapi.json')
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`)
  draw(await answer.json())
} catch (error) {
  document.getElementById('loading').textContent = `The description could not be loaded: ${error.message}. Reload to try again.`
}
