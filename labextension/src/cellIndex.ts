/** Which cells of a notebook are agent cells and attempts; kept up without reading all cells at each change. */

import type { ISharedCodeCell } from '@jupyter/ydoc';
import type { ICellModel, ICodeCellModel } from '@jupyterlab/cells';
import type { INotebookModel } from '@jupyterlab/notebook';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { attemptIn, codeOf, taskIn, taskText } from './attempts';
import { codeHash } from './hash';
import type { IAttemptRecord, ITaskRecord } from './tokens';

/** A cell that has to do with the agent. */
export interface IEntry {
  readonly model: ICodeCellModel;
  readonly id: string;
  /** What the user wrote in an agent cell; null where it is none. */
  readonly text: string | null;
  readonly task: ITaskRecord | null;
  readonly attempt: IAttemptRecord | null;
  /** The code of an attempt. */
  readonly code: string;
  /** An attempt's code is not as it was recorded. */
  readonly edited: boolean;
}

export class CellIndex implements IDisposable {
  constructor(notebook: INotebookModel) {
    this._notebook = notebook;
    notebook.cells.changed.connect(this._onList, this);
    this._onList();
  }

  /** Something changed; emitted synchronously, so listeners put their work off. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** All entries in the order of the notebook. */
  get entries(): readonly IEntry[] {
    this._update();
    return this._entries;
  }

  /** Return the entry of a cell, or null. */
  of(model: ICellModel): IEntry | null {
    this._update();
    return this._known.get(model) ?? null;
  }

  /** Return the entry of an attempt, or null. */
  find(task: string, attempt: number): IEntry | null {
    this._update();
    return this._attempts.get(keyOf({ task, attempt })) ?? null;
  }

  /** Return the shared cell of an attempt, or null. */
  sharedCell(task: string, attempt: number): ISharedCodeCell | null {
    return this.find(task, attempt)?.model.sharedModel ?? null;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      Signal.clearData(this);
    }
  }

  private _onList(): void {
    this._listChanged = true;
    this._changed.emit();
  }

  private _onCell(model: ICellModel): void {
    this._dirty.add(model);
    this._changed.emit();
  }

  private _update(): void {
    if (this._isDisposed || (!this._listChanged && this._dirty.size === 0)) {
      return;
    }
    if (this._listChanged) {
      this._listen();
    }
    let differs = this._listChanged;
    for (const model of this._dirty) {
      const before = this._known.get(model);
      const entry = isCode(model) ? entryOf(model, before ?? null) : null;
      this._known.set(model, entry);
      differs ||= entry !== null || before !== null;
    }
    this._dirty.clear();
    this._listChanged = false;
    if (differs) {
      this._assemble();
    }
  }

  /** Listen to the cells that are new. */
  private _listen(): void {
    for (const model of this._notebook.cells) {
      if (!this._known.has(model)) {
        this._known.set(model, null);
        this._dirty.add(model);
        model.contentChanged.connect(this._onCell, this);
        model.metadataChanged.connect(this._onCell, this);
      }
    }
  }

  private _assemble(): void {
    this._entries = [];
    this._attempts.clear();
    for (const model of this._notebook.cells) {
      const entry = this._known.get(model);
      if (!entry) {
        continue;
      }
      this._entries.push(entry);
      const key = entry.attempt && keyOf(entry.attempt);
      if (key && !this._attempts.has(key)) {
        this._attempts.set(key, entry);
      }
    }
  }

  private readonly _notebook: INotebookModel;
  private readonly _known = new WeakMap<ICellModel, IEntry | null>();
  private readonly _dirty = new Set<ICellModel>();
  private readonly _attempts = new Map<string, IEntry>();
  private _entries: IEntry[] = [];
  private _listChanged = true;
  private _isDisposed = false;
  private readonly _changed = new Signal<this, void>(this);
}

/** Return what tells attempts apart. */
export function keyOf(
  attempt: Pick<IAttemptRecord, 'task' | 'attempt'>
): string {
  return `${attempt.task}.${attempt.attempt}`;
}

function isCode(model: ICellModel): model is ICodeCellModel {
  return model.type === 'code';
}

function entryOf(model: ICodeCellModel, before: IEntry | null): IEntry | null {
  const shared = model.sharedModel;
  if (shared.isDisposed) {
    return null;
  }
  const source = shared.getSource();
  const attempt = attemptIn(shared);
  const text = attempt ? null : taskText(source);
  const task = text === null ? null : taskIn(shared);
  if (!attempt && text === null) {
    return null;
  }
  const code = attempt ? codeOf(source) : '';
  return {
    model,
    id: shared.id,
    text,
    task,
    attempt,
    code,
    edited: attempt !== null && isEdited(attempt, code, before)
  };
}

function isEdited(
  record: IAttemptRecord,
  code: string,
  before: IEntry | null
): boolean {
  if (record.status === 'running' || !record.hash) {
    return false;
  }
  const same = before?.code === code && before.attempt?.hash === record.hash;
  const settled = before?.attempt && before.attempt.status !== 'running';
  return same && settled ? before.edited : codeHash(code) !== record.hash;
}
