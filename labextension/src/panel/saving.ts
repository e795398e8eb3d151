/** "Save as notebook": what is asked of the kernel, and what came of it. */

import { PathExt } from '@jupyterlab/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';

import type { INotebookWork, IReply } from '../tokens';
import { list, string } from '../values';
import { isWritable } from '../writable';
import { sentences } from './report';

/** How long the kernel may take, in milliseconds: a lock file asks the package index for every package. */
const PATIENCE = 300_000;

/** What the kernel may offer beside the name, as its `info` lists it. */
export type SaveOption = 'attempts' | 'tasks' | 'lock' | 'script';

/** How a notebook is to be saved. */
export interface ISaveChoice {
  /** Relative to the notebook's folder. */
  file: string;
  options: ReadonlySet<SaveOption>;
  /** Verify it afterwards. */
  verify: boolean;
}

/** A notebook that was saved. */
export interface ISaved {
  /** As the server names it; empty while it is being saved. */
  path: string;
  /** What was said of it. */
  text: string;
  /** What the user has to know: cells out of order, files beside it. */
  notes: string[];
}

/** A file that the kernel has just written. */
export interface IWritten {
  /** As the server names it. */
  path: string;
  /** The ids of cells whose outputs nobody has kept. */
  unknown: readonly string[];
}

export class Saving {
  /** Something is another. */
  get changed(): ISignal<Saving, void> {
    return this._changed;
  }

  get current(): ISaved | null {
    return this._current;
  }

  /** Have the kernel of `work` save. */
  async save(work: INotebookWork, choice: ISaveChoice): Promise<IWritten> {
    this._set({ path: '', text: '', notes: [] });
    const reply = await ask(work, choice).finally(() => this._set(null));
    if (!reply.ok) {
      throw new Error(reply.text);
    }
    const folder = PathExt.dirname(work.panel.context.localPath);
    const path = PathExt.join(folder, choice.file);
    this._set({ path, text: reply.text, notes: sentences(reply.notes) });
    return { path, unknown: list(reply.unknown).map(string) };
  }

  /** Put away what is shown. */
  close(): void {
    this._set(null);
  }

  private _set(saved: ISaved | null): void {
    this._current = saved;
    this._changed.emit();
  }

  private _current: ISaved | null = null;
  private _changed = new Signal<Saving, void>(this);
}

async function ask(work: INotebookWork, choice: ISaveChoice): Promise<IReply> {
  const { context } = work.panel;
  // the kernel reads the user's Markdown and outputs from the file
  if (context.model.dirty && isWritable(context)) {
    await context.save();
  }
  const options = Object.fromEntries(
    [...choice.options].map(option => [option, true])
  );
  return work.request('save', { ...options, path: choice.file }, PATIENCE);
}
