/**
 * What arrives on a client's socket, cut into wire messages.
 */

const MAX_WAITING_BYTES = 4 * 1024 * 1024;
// As in PostgreSQL: pqcomm.c, PQ_LARGE_MESSAGE_LIMIT and MAX_STARTUP_PACKET_LENGTH.
const MAX_MESSAGE_BYTES = 2 ** 30;
export const MAX_STARTUP_BYTES = 10_000;
const TERMINATE = Buffer.from([0x58, 0, 0, 0, 4]);

export class Reader {
  #socket;
  #pieces = [];
  #length = 0;
  #ended = false;
  #wake = null;
  #onVanish = () => {};

  constructor(socket) {
    this.#socket = socket;
    socket.on("data", (piece) => this.#push(piece));
    socket.on("end", () => this.end());
    socket.on("close", () => this.end());
  }

  /** Whether the client has gone without saying so. */
  get vanished() {
    return this.#ended && !this.#endsWithTerminate();
  }

  /** Call that as soon as the client vanishes, also while nobody waits for a message. */
  onVanish(callback) {
    this.#onVanish = callback;
  }

  /** Nothing more is read; who waits for a message gets null. */
  end() {
    if (this.#ended) return;
    this.#ended = true;
    this.#wake?.();
    if (this.vanished) this.#onVanish();
  }

  /** The next typed message, header included; null when the client has gone or what it sends can't be one. */
  async message(maxBytes = MAX_MESSAGE_BYTES) {
    if (!(await this.#await(5))) return null;
    const length = 1 + this.#joined().readInt32BE(1);
    if (length < 5 || length > maxBytes) return null;
    return (await this.#await(length)) ? this.#take(length) : null;
  }

  /** The next message of a connection's beginning, which has no type: its body, or null if it is no such message. */
  async startupMessage() {
    if (!(await this.#await(8))) return null;
    const length = this.#joined().readInt32BE(0);
    if (length < 8 || length > MAX_STARTUP_BYTES || !(await this.#await(length))) return null;
    return this.#take(length).subarray(4);
  }

  #push(piece) {
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#wake) this.#wake();
    else if (this.#length > MAX_WAITING_BYTES) this.#socket.pause();
  }

  async #await(length) {
    while (this.#length < length && !this.#ended) {
      this.#socket.resume();
      await new Promise((resolve) => (this.#wake = resolve));
      this.#wake = null;
    }
    return this.#length >= length;
  }

  #endsWithTerminate() {
    return this.#length >= TERMINATE.length && this.#joined().subarray(-TERMINATE.length).equals(TERMINATE);
  }

  #joined() {
    if (this.#pieces.length > 1) this.#pieces = [Buffer.concat(this.#pieces, this.#length)];
    return this.#pieces[0];
  }

  #take(length) {
    const joined = this.#joined();
    this.#length -= length;
    this.#pieces = this.#length ? [joined.subarray(length)] : [];
    return joined.subarray(0, length);
  }
}
