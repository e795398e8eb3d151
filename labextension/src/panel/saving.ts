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

/** A verification from the moment it is asked for. */
interface IRun {
  /** Empty until the server has named it. */
  job: string;
  stopped: boolean;
}

/** What is shown of a verification before the server has said anything. */
const BEGUN: IVerification = { state: 'running', done: 0, total: 0, text: '' };

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
    this._leave();
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
    this._leave();
    const run: IRun = { job: '', stopped: false };
    this._run = run;
    const show = (verification: IVerification) =>
      this._set({ path, text: '', verifiable: true, verification });
    show(BEGUN);
    try {
      run.job = await this._server.verify(path);
      if (run.stopped) {
        await this._server.stopVerification(run.job);
      }
      while (this._run === run) {
        const seen = await this._server.verification(run.job);
        if (this._run !== run) {
          return; // another one was begun, or this one put away
        }
        show(seen);
        if (seen.state !== 'running') {
          return;
        }
        await new Promise(resolve => setTimeout(resolve, POLL));
      }
    } catch (error) {
      if (this._run === run) {
        this._set(null);
      }
      throw error;
    }
  }

  /** Have it stopped; where the server has not said yet what to stop, as soon as it has. */
  async stop(): Promise<void> {
    const run = this._run;
    if (run && !run.stopped) {
      run.stopped = true;
      if (run.job) {
        await this._server.stopVerification(run.job);
      }
    }
  }

  /** Put away what is shown. */
  close(): void {
    this._leave();
    this._set(null);
  }

  /** Follow no verification any more. */
  private _leave(): void {
    if (this._current?.verification?.state === 'running') {
      void this.stop().catch(() => undefined); // the server ends it by itself when it goes
    }
    this._run = null;
  }

  private _set(saved: ISaved | null): void {
    this._current = saved;
    this._changed.emit();
  }

  private _run: IRun | null = null;
  private _current: ISaved | null = null;
  private _changed = new Signal<Saving, void>(this);
}
