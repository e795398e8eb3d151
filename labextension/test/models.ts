/** A notebook that is open, with as much of JupyterLab's model around it as ours reads. */

import type { ISharedNotebook, YNotebook } from '@jupyter/ydoc';
import type { INotebookModel } from '@jupyterlab/notebook';
import { Signal } from '@lumino/signaling';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { NotebookContext } from '../src/writable';

/** A translator that knows no language but the code's. */
export const trans = {
  __: (text: string, ...given: unknown[]) => filled(text, given),
  _n: (one: string, many: string, count: number, ...given: unknown[]) =>
    filled(count === 1 ? one : many, [count, ...given])
} as unknown as TranslationBundle;

function filled(text: string, given: readonly unknown[]): string {
  return text.replace(/%(\d)/g, (_, place) => String(given[Number(place) - 1]));
}

export class OpenNotebook {
  saves = 0;
  dirty = false;
  readOnly = false;
  isDisposed = false;
  readonly metadataChanged = new Signal<this, void>(this);
  readonly contentChanged = new Signal<this, void>(this);

  constructor(readonly sharedModel: YNotebook) {
    sharedModel.changed.connect((_: ISharedNotebook, { metadataChange }) =>
      metadataChange ? this.metadataChanged.emit() : this.contentChanged.emit()
    );
  }

  get model(): INotebookModel {
    return this as unknown as INotebookModel;
  }

  get context(): NotebookContext {
    return {
      model: this.model,
      save: () => {
        this.saves += 1;
        this.dirty = false;
        return Promise.resolve();
      }
    } as unknown as NotebookContext;
  }

  get cells(): { id: string; sharedModel: unknown }[] {
    return this.sharedModel.cells.map(cell => ({
      id: cell.id,
      sharedModel: cell
    }));
  }

  getMetadata(key: string): unknown {
    return this.sharedModel.getMetadata(key);
  }

  setMetadata(key: string, value: never): void {
    this.sharedModel.setMetadata(key, value);
  }
}
