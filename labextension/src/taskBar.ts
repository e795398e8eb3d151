/** The bar above the code of an agent cell: how the task stands, and what goes for all its attempts. */

import type { TranslationBundle } from '@jupyterlab/translation';
import {
  caretDownIcon,
  caretUpIcon,
  checkIcon,
  deleteIcon,
  ellipsesIcon,
  errorIcon,
  expandIcon,
  type LabIcon,
  stopIcon
} from '@jupyterlab/ui-components';

import { Bar, type IButton } from './bar';
import { counted, grouped, waits } from './candidates';
import { oneLine } from './panel/text';
import { unfinished } from './records';
import type {
  IAttemptView,
  ITaskRecord,
  ITaskView,
  TaskStatus
} from './tokens';
import { isPending } from './views';

/** What the buttons of a task's bar do. */
export interface ITaskActions {
  goToNext(step: 1 | -1): unknown;
  acceptAll(task: ITaskView): unknown;
  discardAll(task: ITaskView): unknown;
  stop(task: ITaskView): unknown;
  showMissing(task: ITaskView): unknown;
}

/** What a task's bar shows besides the task. */
export interface IAround {
  /** Cells can be inserted. */
  writable: boolean;
  /** Attempts that the user discarded. */
  discarded: number;
}

export class TaskBar extends Bar {
  constructor(actions: ITaskActions, trans: TranslationBundle) {
    super('jp-codeagent-TaskBar');
    this._actions = actions;
    this._trans = trans;
  }

  /** Show `task`. */
  showTask(task: ITaskView, around: IAround): void {
    this._task = task;
    const status = task.record?.status ?? 'stopped';
    this.present({
      name: this._trans.__('Agent'),
      icon: ICONS[status],
      status: this._words(task, status),
      facts: this._facts(task, around),
      buttons: this._buttons(task, around.writable),
      data: { status, task: task.id }
    });
  }

  private _words(task: ITaskView, status: TaskStatus): string {
    const trans = this._trans;
    const reason = oneLine(task.record?.reason ?? '', 160);
    switch (status) {
      case 'queued':
        return trans.__('waiting for the task before');
      case 'running':
        return trans.__('working…');
      case 'solved':
        return trans.__('solved');
      case 'failed':
        return reason
          ? trans.__('not solved: %1', reason)
          : trans.__('not solved');
      case 'stopped':
        return reason ? trans.__('stopped: %1', reason) : trans.__('stopped');
    }
  }

  private _facts(
    { attempts, missing, record }: ITaskView,
    { writable, discarded }: IAround
  ): string[] {
    const trans = this._trans;
    const accepted = attempts.filter(a => a.record.role === 'accepted').length;
    const all = counted(attempts).length + discarded;
    return [
      ...candidatesFact(record, attempts, trans),
      ...(all > 0
        ? [trans.__('%1 of %2 reviewed', accepted + discarded, all)]
        : []),
      ...this._missing(missing, writable)
    ];
  }

  private _missing(missing: number, writable: boolean): string[] {
    const trans = this._trans;
    if (missing === 0) {
      return [];
    }
    return [
      writable
        ? trans._n(
            '%1 attempt is not in this notebook',
            '%1 attempts are not in this notebook',
            missing
          )
        : trans.__('attempts are not written into a read-only notebook')
    ];
  }

  private _buttons(task: ITaskView, writable: boolean): IButton[] {
    const trans = this._trans;
    const current = () => this._task ?? task;
    const pending = task.attempts.filter(isPending);
    const waiting = pending.filter(waits);
    const good = waiting.filter(a => a.record.status !== 'failed');
    const buttons: IButton[] = [];
    if (task.record && unfinished(task.record)) {
      buttons.push({
        name: 'stop',
        label: trans.__('Stop'),
        tooltip: trans.__('Stop this task'),
        icon: stopIcon,
        onClick: () => this._actions.stop(current())
      });
    }
    if (task.missing > 0 && writable) {
      buttons.push({
        name: 'show-missing',
        label: trans.__('Show them'),
        tooltip: trans.__('Insert the attempts that are not in this notebook'),
        icon: expandIcon,
        onClick: () => this._actions.showMissing(current())
      });
    }
    if (waiting.length > 0) {
      buttons.push(...this._steps());
    }
    if (good.length > 1) {
      buttons.push({
        name: 'accept-all',
        label: trans.__('Accept all'),
        tooltip: trans.__(
          'Accept every attempt that did not fail, without running it'
        ),
        icon: checkIcon,
        onClick: () => this._actions.acceptAll(current())
      });
    }
    if (pending.length > 0) {
      buttons.push({
        name: 'discard-all',
        label: trans.__('Discard all'),
        tooltip: trans.__('Delete every attempt that was not accepted'),
        icon: deleteIcon,
        onClick: () => this._actions.discardAll(current())
      });
    }
    return buttons;
  }

  private _steps(): IButton[] {
    const trans = this._trans;
    return [
      {
        name: 'previous',
        label: trans.__('Previous'),
        tooltip: trans.__('Go to the previous attempt to review'),
        icon: caretUpIcon,
        onClick: () => this._actions.goToNext(-1)
      },
      {
        name: 'next',
        label: trans.__('Next'),
        tooltip: trans.__('Go to the next attempt to review'),
        icon: caretDownIcon,
        onClick: () => this._actions.goToNext(1)
      }
    ];
  }

  private readonly _actions: ITaskActions;
  private readonly _trans: TranslationBundle;
  private _task: ITaskView | null = null;
}

/** Return how many candidates each round has, where there are several. */
function candidatesFact(
  record: ITaskRecord | null,
  attempts: readonly IAttemptView[],
  trans: TranslationBundle
): string[] {
  const of = record?.candidates;
  if (!of) {
    return [];
  }
  const rounds = grouped(attempts).length;
  const each = trans.__('%1 candidates each', of);
  return rounds > 0
    ? [trans.__('round %1 of %2, %3', rounds, record.limit, each)]
    : [each];
}

const ICONS: Record<TaskStatus, LabIcon> = {
  queued: ellipsesIcon,
  running: ellipsesIcon,
  solved: checkIcon,
  failed: errorIcon,
  stopped: stopIcon
};
