/** What the stamp of an open notebook is worth, kept up while it is edited. */

import type { ISharedCell } from '@jupyter/ydoc';
import type { ICellModel } from '@jupyterlab/cells';
import type { INotebookModel } from '@jupyterlab/notebook';
import { type ISignal, Signal } from '@lumino/signaling';

import { KEY } from '../tokens';
import { cellHash, contentHash } from './content';
import { type IStamp, type Standing, stampIn, standingOf } from './stamp';

const QUIET = 400; // milliseconds without a change after which the hash is computed
const SLICE = 8; // milliseconds of work at a time, so that typing goes on

export class StampWatch {
  constructor(notebook: INotebookModel) {
    this._notebook = notebook;
    notebook.metadataChanged.connect(this._soon, this);
    notebook.contentChanged.connect(this._soon, this);
    this._compute();
  }

  /** The stamp, or what it is worth, is another. */
  get changed(): ISignal<StampWatch, void> {
    return this._changed;
  }

  /** Null where the notebook has none. */
  get stamp(): IStamp | null {
    return this._stamp;
  }

  /** Null where there is no stamp, or it is not known yet. */
  get standing(): Standing | null {
    return this._standing;
  }

  /** Return the hash of the content as it is now. */
  async hash(): Promise<string> {
    for (;;) {
      const before = this._edits;
      const hashes = await this._hashes();
      if (before === this._edits) {
        return contentHash(hashes, this._record);
      }
    }
  }

  private get _record(): unknown {
    return this._notebook.getMetadata(KEY) as unknown;
  }

  private _soon(): void {
    this._edits += 1;
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._compute(), QUIET);
  }

  private _compute(): void {
    if (this._notebook.isDisposed) {
      return;
    }
    const stamp = stampIn(this._record);
    if (!stamp) {
      this._set(null, null);
      return;
    }
    const before = this._edits;
    void this._hashes().then(hashes => {
      // after an edit meanwhile it is computed again
      if (before === this._edits && !this._notebook.isDisposed) {
        const hash = contentHash(hashes, this._record);
        this._set(stamp, standingOf(stamp, hash));
      }
    });
  }

  /** Compute the hashes of the cells that were changed, a few at a time. */
  private async _hashes(): Promise<string[]> {
    let begun = performance.now();
    const hashes: string[] = [];
    for (const cell of [...this._notebook.cells]) {
      hashes.push(this._hashOf(cell));
      if (performance.now() - begun > SLICE) {
        await new Promise(resolve => setTimeout(resolve));
        begun = performance.now();
      }
    }
    return hashes;
  }

  private _hashOf(cell: ICellModel): string {
    const shared = cell.sharedModel;
    let hash = this._known.get(shared);
    if (hash === undefined) {
      if (!this._followed.has(shared)) {
        this._followed.add(shared);
        shared.changed.connect(this._onCell, this);
      }
      hash = cellHash(shared.toJSON());
      this._known.set(shared, hash);
    }
    return hash;
  }

  private _onCell(cell: ISharedCell): void {
    this._known.delete(cell);
    this._soon();
  }

  private _set(stamp: IStamp | null, standing: Standing | null): void {
    this._stamp = stamp;
    this._standing = standing;
    this._changed.emit();
  }

  private readonly _notebook: INotebookModel;
  private readonly _known = new WeakMap<ISharedCell, string>();
  private readonly _followed = new WeakSet<ISharedCell>();
  private readonly _changed = new Signal<StampWatch, void>(this);
  private _stamp: IStamp | null = null;
  private _standing: Standing | null = null;
  private _edits = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;
}

const watches = new WeakMap<INotebookModel, StampWatch>();

/** Return what watches the stamp of `notebook`; one for all who ask. */
export function stampWatch(notebook: INotebookModel): StampWatch {
  let watch = watches.get(notebook);
  if (!watch) {
    watch = new StampWatch(notebook);
    watches.set(notebook, watch);
  }
  return watch;
}
