/** As much of a WebSocket server (RFC 6455) as the stand-in needs: text messages, close, no extensions. */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

export class TextSocket {
  onMessage: (text: string) => void = () => undefined
  onClose: () => void = () => undefined
  #open = true
  #data = Buffer.alloc(0)

  constructor(
    request: IncomingMessage,
    private readonly socket: Socket,
  ) {
    const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${GUID}`).digest('base64')
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
    socket.on('data', (chunk: Buffer) => {
      this.#data = Buffer.concat([this.#data, chunk])
      this.#read()
    })
    const closed = () => {
      if (!this.#open) return
      this.#open = false
      this.onClose()
    }
    socket.on('close', closed)
    socket.on('error', closed)
  }

  send(message: object): void {
    if (this.#open) this.#frame(1, Buffer.from(JSON.stringify(message)))
  }

  /** Like a cable that is cut: no closing handshake. */
  cut(): void {
    this.socket.destroy()
  }

  #frame(opcode: number, payload: Buffer): void {
    const head = payload.length < 126 ? Buffer.from([0x80 | opcode, payload.length]) : Buffer.alloc(4)
    if (payload.length >= 126) {
      head[0] = 0x80 | opcode
      head[1] = 126
      head.writeUInt16BE(payload.length, 2)
    }
    this.socket.write(Buffer.concat([head, payload]))
  }

  #read(): void {
    for (;;) {
      const data = this.#data
      if (data.length < 2) return
      let length = data[1]! & 0x7f
      let at = 2
      if (length === 126) {
        if (data.length < 4) return
        length = data.readUInt16BE(2)
        at = 4
      }
      if (data.length < at + 4 + length) return
      const mask = data.subarray(at, at + 4)
      const payload = Buffer.from(data.subarray(at + 4, at + 4 + length).map((byte, i) => byte ^ mask[i % 4]!))
      const opcode = data[0]! & 0x0f
      this.#data = data.subarray(at + 4 + length)
      if (opcode === 1) this.onMessage(payload.toString('utf8'))
      if (opcode === 8) {
        this.#frame(8, payload)
        this.socket.end()
        return
      }
    }
  }
}
