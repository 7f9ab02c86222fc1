/** Runs `Limiter` in the audio thread. Tells the page every 100 ms how much it took off. */
import { Limiter } from './limiter'

/** What the audio thread offers; the DOM types do not know it. */
declare const sampleRate: number
declare const registerProcessor: (name: string, processor: unknown) => void
declare class AudioWorkletProcessor {
  readonly port: MessagePort
}

class LimiterProcessor extends AudioWorkletProcessor {
  readonly #limiter = new Limiter(sampleRate, 2)
  #samples = 0

  process(inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const output = outputs[0] ?? []
    const input = inputs[0] ?? []
    // A mono source drives both ears.
    this.#limiter.process(input.length === 1 ? [input[0]!, input[0]!] : input, output)
    this.#samples += output[0]?.length ?? 0
    if (this.#samples >= sampleRate / 10) {
      this.#samples = 0
      this.port.postMessage(this.#limiter.takeReduction())
    }
    return true
  }
}

registerProcessor('boothcast-limiter', LimiterProcessor)
