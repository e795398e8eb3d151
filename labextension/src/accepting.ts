/** Which attempts may be accepted, where that takes a question to the kernel or to the user. */

import { type IEntry, keyOf } from './cellIndex';

export class Accepting {
  /** Return those of `entries` that are accepted as they were asked about; none that are being asked about. */
  async agreed(
    entries: readonly IEntry[],
    ask: (entries: readonly IEntry[]) => Promise<boolean>,
    now: (entry: IEntry) => IEntry | null
  ): Promise<IEntry[]> {
    const asked = entries.filter(entry => !this._asked.has(name(entry)));
    if (asked.length === 0) {
      return [];
    }
    asked.forEach(entry => this._asked.add(name(entry)));
    try {
      if (!(await ask(asked))) {
        return [];
      }
    } finally {
      asked.forEach(entry => this._asked.delete(name(entry)));
    }
    return asked.flatMap(entry => {
      const found = now(entry);
      const same =
        found?.attempt?.role === 'attempt' &&
        name(found) === name(entry) &&
        found.code === entry.code;
      return same ? found : [];
    });
  }

  private readonly _asked = new Set<string>();
}

function name({ attempt }: IEntry): string {
  return attempt ? keyOf(attempt) : '';
}
