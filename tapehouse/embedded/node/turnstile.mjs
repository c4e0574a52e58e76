/**
 * Who may speak to the engine: one holder at a time, in the order of asking.
 */

export class Turnstile {
  #holder = null;
  #waiting = [];

  /** True when it is the holder's turn; false when it was withdrawn before that. */
  enter(holder) {
    if (this.#holder === null) {
      this.#holder = holder;
      return Promise.resolve(true);
    }
    return new Promise((resolve) => this.#waiting.push({ holder, resolve }));
  }

  leave() {
    const next = this.#waiting.shift();
    this.#holder = next?.holder ?? null;
    next?.resolve(true);
  }

  /** Take it out of the queue; false if it wasn't waiting. */
  withdraw(holder) {
    const index = this.#waiting.findIndex((entry) => entry.holder === holder);
    if (index < 0) return false;
    const [entry] = this.#waiting.splice(index, 1);
    entry.resolve(false);
    return true;
  }
}
