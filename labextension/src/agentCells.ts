/** The agent's work in all open notebooks. */

import type { ISessionContextDialogs } from '@jupyterlab/apputils';
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { ITranslator } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import { type ISignal, Signal } from '@lumino/signaling';

import type { Keeper } from './keeper';
import type { CellSettings } from './settings';
import {
  Commands,
  type IAgentCells,
  type IAttemptView,
  type INotebookWork
} from './tokens';
import { welcome } from './welcome';
import type { NotebookWork } from './work';

export interface IAgentCellsOptions {
  tracker: INotebookTracker;
  commands: CommandRegistry;
  settings: CellSettings;
  dialogs: ISessionContextDialogs | undefined;
  translator: ITranslator;
}

export class AgentCells implements IAgentCells {
  constructor(options: IAgentCellsOptions) {
    this._options = options;
    const { tracker } = options;
    tracker.forEach(panel => void this._open(panel));
    tracker.widgetAdded.connect((_, panel) => void this._open(panel));
    tracker.currentChanged.connect(() => this._onCurrent());
  }

  get current(): NotebookWork | null {
    const panel = this._options.tracker.currentWidget;
    return panel ? this.of(panel) : null;
  }

  get currentChanged(): ISignal<this, INotebookWork | null> {
    return this._currentChanged;
  }

  /** Something changed in the active notebook. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  of(panel: NotebookPanel): NotebookWork | null {
    const work = this._works.get(panel);
    return work && !work.isDisposed ? work : null;
  }

  private _onCurrent(): void {
    this._currentChanged.emit(this.current);
  }

  /** What works on notebooks is loaded with the first notebook. */
  private async _open(panel: NotebookPanel): Promise<void> {
    welcome(panel.sessionContext);
    const [{ Keeper, NotebookWork }] = await Promise.all([
      import('./opened'),
      panel.context.ready
    ]);
    if (panel.isDisposed || panel.context.isDisposed) {
      return;
    }
    const { dialogs, translator, settings } = this._options;
    const keeper = this._keeperOf(panel, Keeper);
    const work = new NotebookWork({ panel, keeper, dialogs, translator });
    this._works.set(panel, work);
    const show = () => {
      if (work.tasks.length > 0) {
        work.changed.disconnect(show);
        void this._decorate(work);
      }
    };
    work.changed.connect(show);
    show();
    work.changed.connect(() => {
      if (work === this.current) {
        this._changed.emit();
      }
    });
    keeper.inserted.connect((_, cellId) => {
      if (settings.values.followNewAttempts && !work.isDisposed) {
        work.follow(cellId);
      }
    });
    if (panel === this._options.tracker.currentWidget) {
      this._onCurrent();
    }
  }

  /** What shows tasks and attempts is loaded with the first of them. */
  private async _decorate(work: NotebookWork): Promise<void> {
    const { Decorator } = await import('./decorator');
    if (!work.isDisposed) {
      new Decorator(work, this._options.settings, {
        accept: (attempt, run) => work.accept(attempt, run),
        edit: attempt => work.edit(attempt),
        runInSandbox: attempt => work.runInSandbox(attempt),
        discard: attempt => work.discard(attempt),
        choose: attempt => work.chooseAndSay(attempt),
        toggle: (attempt, collapsed) => work.toggle(attempt, collapsed),
        fix: attempt => this._fix(work, attempt)
      });
    }
  }

  /** Two views of one notebook have one keeper. */
  private _keeperOf(panel: NotebookPanel, create: typeof Keeper): Keeper {
    const { context } = panel;
    let keeper = this._keepers.get(context);
    if (!keeper) {
      const { settings, translator } = this._options;
      const trans = translator.load('jupyter_codeagent');
      keeper = new create({
        context,
        collapseFailed: () => settings.values.collapseFailed,
        endedReason: trans.__('the kernel ended')
      });
      this._keepers.set(context, keeper);
    }
    return keeper;
  }

  private async _fix(work: NotebookWork, attempt: IAttemptView): Promise<void> {
    const { commands } = this._options;
    await work.goTo(attempt.cellId);
    if (commands.hasCommand(Commands.fixCell)) {
      await commands.execute(Commands.fixCell);
    }
  }

  private readonly _options: IAgentCellsOptions;
  private readonly _works = new WeakMap<NotebookPanel, NotebookWork>();
  private readonly _keepers = new WeakMap<object, Keeper>();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _currentChanged = new Signal<this, INotebookWork | null>(
    this
  );
}
