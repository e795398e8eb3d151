/** Puts strips and bars into the cells of a notebook panel, and keeps them up. */

import { type Cell, CodeCell } from '@jupyterlab/cells';
import type { ICellModel } from '@jupyterlab/cells';
import type { IDisposable } from '@lumino/disposable';
import type { PanelLayout } from '@lumino/widgets';

import type { IEntry } from './cellIndex';
import type { CellSettings } from './settings';
import { AttemptStrip, type IAttemptActions } from './strip';
import { TaskBar } from './taskBar';
import type { ITaskView } from './tokens';
import { attemptView } from './views';
import type { NotebookWork } from './work';

/** Below the cell's header, above its code. */
const PLACE = 1;

interface IDecoration {
  readonly bar: AttemptStrip | TaskBar;
  readonly cell: Cell;
  /** What the strip showed last; entries are never changed in place. */
  entry: IEntry | null;
  phase: string;
}

export class Decorator implements IDisposable {
  constructor(
    work: NotebookWork,
    settings: CellSettings,
    actions: IAttemptActions
  ) {
    this._work = work;
    this._settings = settings;
    this._actions = actions;
    work.changed.connect(this._update, this);
    settings.changed.connect(this._all, this);
    work.panel.disposed.connect(this.dispose, this);
    this._update();
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._work.changed.disconnect(this._update, this);
    this._settings.changed.disconnect(this._all, this);
    this._decorations.clear();
  }

  private _all(): void {
    for (const decoration of this._decorations.values()) {
      decoration.entry = null;
    }
    this._update();
  }

  private _update(): void {
    if (this._isDisposed || this._work.isDisposed) {
      return;
    }
    const { entries } = this._work.keeper.index;
    const tasks = new Map(this._work.tasks.map(task => [task.cellId, task]));
    const wanted = new Set<ICellModel>();
    for (const entry of entries) {
      const task = entry.attempt ? null : tasks.get(entry.id);
      if (entry.attempt || task?.id) {
        wanted.add(entry.model);
        this._decorate(entry, task ?? null);
      }
    }
    for (const [model, { bar, cell }] of this._decorations) {
      if (!wanted.has(model) || cell.isDisposed) {
        this._decorations.delete(model);
        bar.dispose();
        cell.removeClass('jp-codeagent-Attempt');
        cell.removeClass('jp-codeagent-mod-collapsed');
      }
    }
  }

  private _decorate(entry: IEntry, task: ITaskView | null): void {
    let known = this._decorations.get(entry.model);
    const fits = known?.bar instanceof TaskBar === (task !== null);
    if (!known || known.cell.isDisposed || !fits) {
      known?.bar.dispose();
      known = this._create(entry, task !== null) ?? undefined;
    }
    if (!known) {
      return;
    }
    if (known.bar instanceof TaskBar) {
      const { keeper } = this._work;
      if (task) {
        const discarded = keeper.discarded(task.id);
        const { writable } = keeper;
        known.bar.showTask(task, { writable, discarded });
      }
      return;
    }
    const view = attemptView(this._work.keeper, entry);
    if (view && (known.entry !== entry || known.phase !== view.phase)) {
      known.entry = entry;
      known.phase = view.phase;
      known.bar.showAttempt(view, this._settings.values.showCosts);
    }
  }

  private _create(entry: IEntry, isTask: boolean): IDecoration | null {
    const cell = this._work.panel.content.widgets.find(
      widget => widget.model === entry.model
    );
    if (!(cell instanceof CodeCell)) {
      return null;
    }
    const { trans } = this._work;
    const bar = isTask
      ? new TaskBar(this._work, trans)
      : new AttemptStrip({ cell, trans, actions: this._actions });
    const decoration = { bar, cell, entry: null, phase: '' };
    this._decorations.set(entry.model, decoration);
    // Cells outside the view have no nodes yet.
    void cell.ready.then(() => {
      if (!bar.isDisposed && !cell.isDisposed) {
        (cell.layout as PanelLayout).insertWidget(PLACE, bar);
      }
    });
    return decoration;
  }

  private readonly _work: NotebookWork;
  private readonly _settings: CellSettings;
  private readonly _actions: IAttemptActions;
  private readonly _decorations = new Map<ICellModel, IDecoration>();
  private _isDisposed = false;
}
