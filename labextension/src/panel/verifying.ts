/** The verification of a notebook by the server, and the stamp that the page writes into a notebook that is open. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { type ISignal, Signal } from '@lumino/signaling';

import type { IVerification, Server } from '../server';
import { stampWatch } from '../stamp/watch';
import { KEY } from '../tokens';
import { record, sentenceOf } from '../values';
import { isWritable, type NotebookContext } from '../writable';

const POLL = 500; // milliseconds between two looks at a verification

/** A verification that is shown. */
export interface IVerified extends IVerification {
  /** The notebook, as the server names it. */
  path: string;
  /** The ids of the cells that were verified, where the notebook is open. */
  cells: readonly string[];
  /** Why a notebook that is open was not stamped; empty where it was. */
  unstamped: string;
}

/** A verification from the moment it is asked for. */
interface IRun {
  /** Empty until the server has named it. */
  job: string;
  stopped: boolean;
}

/** What is shown of a verification before the server has said anything. */
const BEGUN: IVerification = { state: 'running', done: 0, total: 0, text: '' };

export class Verifying {
  constructor(
    private _server: Server,
    private _trans: TranslationBundle
  ) {}

  /** It changed: a step of a verification, mostly. */
  get changed(): ISignal<Verifying, void> {
    return this._changed;
  }

  get current(): IVerified | null {
    return this._current;
  }

  get running(): boolean {
    return this._current?.state === 'running';
  }

  /** The user looks at it. */
  get open(): boolean {
    return this._open;
  }

  /** How often the user has asked to see it. */
  get shown(): number {
    return this._shown;
  }

  show(open: boolean): void {
    this._open = open;
    this._shown += open ? 1 : 0;
    this._changed.emit();
  }

  /**
   * Run a notebook from the top in a fresh sandbox, and follow that until it ends.
   *
   * @param path - The notebook, as the server names it.
   * @param context - Of the notebook where it is open; it is saved first, and gets its stamp here.
   * @param unknown - Where the file was just saved: the ids of cells whose outputs were not kept.
   */
  async verify(
    path: string,
    context: NotebookContext | null,
    unknown?: readonly string[]
  ): Promise<void> {
    this._leave();
    const run: IRun = { job: '', stopped: false };
    this._run = run;
    this._set({ ...BEGUN, path, cells: [], unstamped: '' });
    try {
      if (context?.model.dirty && isWritable(context)) {
        await context.save();
      }
      const cells = [...(context?.model.cells ?? [])].map(({ id }) => id);
      run.job = await this._server.verify(path, context === null, unknown);
      const seen = await this._follow(run, path, cells);
      const stamp = seen?.report?.stamp;
      if (context && stamp) {
        const unstamped = await this._stamp(context, stamp);
        if (unstamped && this._run === run) {
          this._set({ ...seen, unstamped });
        }
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
    this._open = false;
    this._set(null);
  }

  /** Return what there is at the end; null where another one was begun meanwhile, or this one put away. */
  private async _follow(
    run: IRun,
    path: string,
    cells: readonly string[]
  ): Promise<IVerified | null> {
    if (run.stopped) {
      await this._server.stopVerification(run.job);
    }
    while (this._run === run) {
      const seen = await this._server.verification(run.job);
      if (this._run !== run) {
        break;
      }
      const verified = { ...seen, path, cells, unstamped: '' };
      this._set(verified);
      if (seen.state !== 'running') {
        return verified;
      }
      await new Promise(resolve => setTimeout(resolve, POLL));
    }
    return null;
  }

  /** Write the stamp into a notebook that is as it was verified, and save it; returns why not, or nothing. */
  private async _stamp(
    context: NotebookContext,
    stamp: Record<string, unknown>
  ): Promise<string> {
    const { model } = context;
    const trans = this._trans;
    if (context.isDisposed) {
      return trans.__(
        'The notebook was closed while it was verified, so it was not stamped.'
      );
    }
    if (!isWritable(context)) {
      return trans.__('The notebook is read-only, so it was not stamped.');
    }
    if ((await stampWatch(model).hash()) !== stamp.hash) {
      return trans.__(
        'The notebook was edited while it was verified, so it was not stamped; verify it again.'
      );
    }
    // what is no part of a cell is no step of undo
    const ours = { version: 1, ...record(model.getMetadata(KEY)) };
    model.setMetadata(KEY, { ...ours, verified: stamp });
    try {
      await context.save();
    } catch (error) {
      return trans.__('The stamp could not be saved: %1', sentenceOf(error));
    }
    return '';
  }

  /** Follow no verification any more. */
  private _leave(): void {
    if (this.running) {
      void this.stop().catch(() => undefined); // the server ends it by itself when it goes
    }
    this._run = null;
  }

  private _set(verified: IVerified | null): void {
    this._current = verified;
    this._changed.emit();
  }

  private _run: IRun | null = null;
  private _current: IVerified | null = null;
  private _open = false;
  private _shown = 0;
  private _changed = new Signal<Verifying, void>(this);
}
