/** "Save as notebook", and the verification of a notebook by the server. */

import { PathExt } from '@jupyterlab/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';

import type { IVerification, Server } from '../server';
import type { INotebookWork } from '../tokens';

const POLL = 500; // milliseconds between two looks at a verification

/** A notebook that was saved, or is verified. */
export interface ISaved {
  /** As the server names it; empty while it is being saved. */
  path: string;
  /** What was said of it. */
  text: string;
  /** The server can verify. */
  verifiable: boolean;
  verification: IVerification | null;
}

export class Saving {
  constructor(private _server: Server) {}

  /** It changed: a step of a verification, mostly. */
  get changed(): ISignal<Saving, void> {
    return this._changed;
  }

  get current(): ISaved | null {
    return this._current;
  }

  /** Have the kernel of `work` save what was kept as `file`, a name relative to the notebook's folder. */
  async save(
    work: INotebookWork,
    file: string,
    attempts: boolean,
    verifiable: boolean
  ): Promise<void> {
    this._job = '';
    this._set({ path: '', text: '', verifiable, verification: null });
    const reply = await work
      .request('save', { path: file, attempts })
      .finally(() => this._set(null));
    if (!reply.ok) {
      throw new Error(reply.text);
    }
    const folder = PathExt.dirname(work.panel.context.localPath);
    const path = PathExt.join(folder, file);
    this._set({ path, text: reply.text, verifiable, verification: null });
  }

  /** Run the notebook at `path` from the top in a fresh sandbox, and follow that until it ends. */
  async verify(path: string): Promise<void> {
    const job = await this._server.verify(path);
    this._job = job;
    let seen: IVerification;
    do {
      seen = await this._server.verification(job);
      if (this._job !== job) {
        return; // another one was begun, or this one put away
      }
      this._set({ path, text: '', verifiable: true, verification: seen });
      await new Promise(resolve => setTimeout(resolve, POLL));
    } while (seen.state === 'running');
  }

  async stop(): Promise<void> {
    if (this._job) {
      await this._server.stopVerification(this._job);
    }
  }

  /** Put away what is shown. */
  close(): void {
    if (this._current?.verification?.state === 'running') {
      void this.stop().catch(() => undefined); // the server ends it by itself when it goes
    }
    this._job = '';
    this._set(null);
  }

  private _set(saved: ISaved | null): void {
    this._current = saved;
    this._changed.emit();
  }

  private _job = '';
  private _current: ISaved | null = null;
  private _changed = new Signal<Saving, void>(this);
}

/** Return what went wrong as one sentence for the user. */
export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
