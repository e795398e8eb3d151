/** What the agent does in the active notebook, in one line, with a way to stop it. */

import type { TranslationBundle } from '@jupyterlab/translation';
import { stopIcon } from '@jupyterlab/ui-components';
import { type ISignal, Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import type { IAgentCells, IAttemptView, INotebookWork } from './tokens';

export interface IStatusDeeds {
  open(): void;
  failed(sentence: string): void;
}

export class StatusItem extends Widget {
  constructor(
    private _cells: IAgentCells,
    private _trans: TranslationBundle,
    private _deeds: IStatusDeeds
  ) {
    super();
    this.addClass('jp-codeagent-StatusItem');
    const spinner = document.createElement('span');
    spinner.className = 'jp-codeagent-Spinner';
    spinner.setAttribute('aria-hidden', 'true');
    this._label.type = this._stop.type = 'button';
    this._label.title = _trans.__('Show the code agent panel');
    this._label.append(spinner, this._text);
    this._label.onclick = () => this._deeds.open();
    this._stop.title = _trans.__('Stop the agent');
    this._stop.setAttribute('aria-label', this._stop.title);
    this._stop.onclick = () => void this._stopTask();
    stopIcon.element({ container: this._stop, width: '12px', height: '12px' });
    this.node.append(this._label, this._stop);
    _cells.currentChanged.connect(this._onCurrent);
    this._onCurrent();
  }

  get isActive(): boolean {
    return this._active;
  }

  get activeChanged(): ISignal<StatusItem, void> {
    return this._activeChanged;
  }

  override dispose(): void {
    this._work?.changed.disconnect(this._update);
    Signal.clearData(this);
    super.dispose();
  }

  private readonly _onCurrent = (): void => {
    this._work?.changed.disconnect(this._update);
    this._work = this._cells.current;
    this._work?.changed.connect(this._update);
    this._update();
  };

  private readonly _update = (): void => {
    const running = this._work?.running ?? null;
    if (running && this._work) {
      const text = this._sentence(this._work);
      if (this._text.data !== text) {
        this._text.data = text;
      }
    }
    if (this._active !== (running !== null)) {
      this._active = running !== null;
      this._activeChanged.emit();
    }
  };

  private _sentence(work: INotebookWork): string {
    const trans = this._trans;
    const queued = work.tasks.filter(
      task => task.record?.status === 'queued'
    ).length;
    const now = this._now(work.running?.attempts ?? []);
    return queued ? trans.__('%1, %2 queued', now, queued) : now;
  }

  private _now(attempts: readonly IAttemptView[]): string {
    const trans = this._trans;
    const rivals = attempts.filter(
      ({ record }) => record.status === 'running' && record.of !== undefined
    ).length;
    if (rivals > 1) {
      return trans.__('Code agent: %1 candidates', rivals);
    }
    const number = attempts[attempts.length - 1]?.record.attempt;
    return number
      ? trans.__('Code agent: attempt %1', number)
      : trans.__('Code agent: asking the model');
  }

  private async _stopTask(): Promise<void> {
    try {
      await this._work?.stop(this._work.running ?? undefined);
    } catch (error) {
      this._deeds.failed(
        error instanceof Error ? error.message : String(error)
      );
    }
  }

  private _work: INotebookWork | null = null;
  private _active = false;
  private _activeChanged = new Signal<StatusItem, void>(this);
  private _text = document.createTextNode('');
  private _label = document.createElement('button');
  private _stop = document.createElement('button');
}
