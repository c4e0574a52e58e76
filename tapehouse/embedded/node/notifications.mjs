/**
 * LISTEN and NOTIFY between clients: inside there is one session that listens for all of them.
 */
import { readStrings } from "./wire.mjs";

export class Notifications {
  #hub;

  constructor(hub) {
    this.#hub = hub;
  }

  /** Send a notification to those that listen; what stands for it in the answer of `sender`, null for nothing. */
  route(bytes, sender = null) {
    const [channel] = readStrings(bytes, 9, 1).strings;
    // The engine has one session, so it names no sender.
    const sent = Buffer.from(bytes);
    sent.writeInt32BE(sender?.id ?? 0, 5);
    for (const session of this.#hub.sessions()) {
      if (session !== sender && session.channels.has(channel)) session.send(sent);
    }
    return sender?.listensOn(channel) ? sent : null;
  }

  /** Record what a committed transaction of that client listens on from now, and no longer. */
  async change(session, changes) {
    for (const { channel, listens } of changes) {
      if (listens) session.channels.add(channel);
      else if (channel === "*") session.channels.clear();
      else session.channels.delete(channel);
    }
    if (changes.every(({ listens }) => listens)) return;
    const wanted = new Set([...this.#hub.sessions()].flatMap((other) => [...other.channels]));
    const texts = [...wanted].map((channel) => `LISTEN "${channel.replaceAll('"', '""')}"`);
    if (texts.length > 0) await this.#hub.query(texts.join(";"));
  }
}
