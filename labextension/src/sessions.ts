/** What this browser tab remembers of a kernel, over reload, closing and reopening of the notebook. */

interface IMemory {
  /** The ids by which the kernel knew this tab. */
  sessions: string[];
  /** The comm on which it tells of its tasks. */
  comm: string;
}

/** Connections that a tab has had to one kernel; more are forgotten from the oldest. */
const MOST = 64;

/** The memory of one kernel in this tab. */
export class Sessions {
  constructor(kernelId: string, storage: Storage = window.sessionStorage) {
    this._key = `jupyter-codeagent:${kernelId}`;
    this._storage = storage;
  }

  /** The ids by which the kernel knew this tab. */
  get all(): readonly string[] {
    return this._read().sessions;
  }

  /** The comm on which the kernel told of its tasks when last seen; empty where unknown. */
  get comm(): string {
    return this._read().comm;
  }

  set comm(id: string) {
    this._write({ ...this._read(), comm: id });
  }

  /** Remember one more connection. */
  add(session: string): void {
    const { sessions, comm } = this._read();
    if (!sessions.includes(session)) {
      this._write({ sessions: [...sessions, session].slice(-MOST), comm });
    }
  }

  private _read(): IMemory {
    try {
      const found = JSON.parse(
        this._storage.getItem(this._key) ?? '{}'
      ) as Partial<IMemory>;
      const sessions = Array.isArray(found.sessions) ? found.sessions : [];
      return {
        sessions: sessions.filter(session => typeof session === 'string'),
        comm: typeof found.comm === 'string' ? found.comm : ''
      };
    } catch {
      return { sessions: [], comm: '' };
    }
  }

  private _write(memory: IMemory): void {
    try {
      this._storage.setItem(this._key, JSON.stringify(memory));
    } catch {
      // Storage is full or forbidden: only a reload in the middle of a task needs it.
    }
  }

  private readonly _key: string;
  private readonly _storage: Storage;
}

/** The sessions that were asked for in this page. */
const claims = new Map<string, Promise<boolean>>();

/** Make `session` this page's; false where another page has it, from which this tab was duplicated. */
export function claim(session: string): Promise<boolean> {
  const claimed = claims.get(session) ?? lock(`jupyter-codeagent:${session}`);
  claims.set(session, claimed);
  return claimed;
}

/** Take a lock for as long as the page is there; browsers have locks only where the connection is secure. */
function lock(name: string): Promise<boolean> {
  const { locks } = window.navigator as Partial<Navigator>;
  return new Promise(resolve => {
    const holding = (lock: Lock | null) => {
      resolve(lock !== null);
      return lock ? new Promise(() => undefined) : undefined;
    };
    if (locks) {
      locks
        .request(name, { ifAvailable: true }, holding)
        .catch(() => resolve(true));
    } else {
      resolve(true);
    }
  });
}
