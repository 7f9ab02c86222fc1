import { useEffect, useState } from 'preact/hooks'

/** A value that tells its subscribers when it changes. Values are replaced, never mutated. */
export class Store<T extends object> {
  #value: T
  readonly #subscribers = new Set<(value: T, previous: T) => void>()

  constructor(initial: T) {
    this.#value = initial
  }

  get value(): T {
    return this.#value
  }

  /** Replaces the given fields; nobody is told when nothing differs. */
  patch(fields: Partial<T>): void {
    const previous = this.#value
    const keys = Object.keys(fields) as (keyof T)[]
    if (keys.every((key) => Object.is(previous[key], fields[key]))) return
    const next = { ...previous, ...fields }
    this.#value = next
    for (const subscriber of [...this.#subscribers]) subscriber(next, previous)
  }

  /** @returns the function that ends the subscription. */
  subscribe(subscriber: (value: T, previous: T) => void): () => void {
    this.#subscribers.add(subscriber)
    return () => this.#subscribers.delete(subscriber)
  }
}

/** The store's value, with a render whenever what `select` takes from it changes. */
export function useStore<T extends object, S = T>(store: Store<T>, select: (value: T) => S = (value) => value as never): S {
  const [selected, setSelected] = useState(() => select(store.value))
  useEffect(() => {
    const update = () => setSelected(() => select(store.value))
    update()
    return store.subscribe(update)
    // eslint-disable-next-line -- `select` is a constant function at every call
  }, [store])
  return selected
}
