/** The strip above the code of an attempt's cell. */

import type { CodeCell } from '@jupyterlab/cells';
import type { IError } from '@jupyterlab/nbformat';
import type { TranslationBundle } from '@jupyterlab/translation';
import {
  caretDownIcon,
  caretRightIcon,
  checkIcon,
  circleEmptyIcon,
  closeIcon,
  deleteIcon,
  editIcon,
  ellipsesIcon,
  errorIcon,
  type LabIcon,
  refreshIcon,
  runIcon,
  stopIcon
} from '@jupyterlab/ui-components';
import { type PanelLayout, Widget } from '@lumino/widgets';

import { isCollapsed } from './attempts';
import { Bar, type IButton } from './bar';
import { isCandidate, isDecided, isPassedOver, mayChoose } from './candidates';
import { tierFact, timeFact, tokensFact } from './facts';
import { oneLine, visible } from './panel/text';
import { attemptName, candidateWord } from './panel/words';
import { richText } from './richText';
import type { IAttemptRecord, IAttemptView } from './tokens';

/** What the buttons of a strip do. */
export interface IAttemptActions {
  accept(attempt: IAttemptView, run: boolean): unknown;
  edit(attempt: IAttemptView): unknown;
  runInSandbox(attempt: IAttemptView): unknown;
  discard(attempt: IAttemptView): unknown;
  choose(attempt: IAttemptView): unknown;
  toggle(attempt: IAttemptView, collapsed: boolean): unknown;
  /** Have the agent mend the cell; null where that is not offered. */
  fix: ((attempt: IAttemptView) => unknown) | null;
}

export interface IStripOptions {
  cell: CodeCell;
  trans: TranslationBundle;
  actions: IAttemptActions;
}

export class AttemptStrip extends Bar {
  constructor(options: IStripOptions) {
    super('jp-codeagent-Strip');
    this._options = options;
    this._toggle.className = 'jp-codeagent-Strip-toggle';
    this._toggle.type = 'button';
    this._toggle.addEventListener('click', () => this._onToggle());
    this.line.prepend(this._toggle);
    this.line.addEventListener('click', event => {
      if (this._collapsed && !this._toggle.contains(event.target as Node)) {
        this._onToggle();
      }
    });
    this._more.addClass('jp-codeagent-Strip-more');
    (this.layout as PanelLayout).addWidget(this._more);
  }

  /** Show `attempt`; `costs`: with what it took. */
  showAttempt(attempt: IAttemptView, costs: boolean): void {
    this._attempt = attempt;
    this._collapse(isCollapsed(this._options.cell.model.sharedModel));
    const { record } = attempt;
    const { trans } = this._options;
    const status = this._status(attempt);
    this.present({
      name: attemptName(record, trans),
      icon: isPassedOver(record) ? circleEmptyIcon : ICONS[status],
      status: this._words(attempt, status),
      facts: this._facts(attempt, costs),
      buttons: this._buttons(attempt),
      data: {
        status,
        task: record.task,
        attempt: String(record.attempt),
        role: record.role,
        ...standing(record)
      }
    });
    this._showToggle(record.role === 'attempt');
    this._showMore(attempt);
  }

  private _status(attempt: IAttemptView): Look {
    const { record, edited } = attempt;
    if (record.role === 'accepted') {
      return 'accepted';
    }
    if (edited) {
      return 'edited';
    }
    return record.status === 'failed' && !this._error()
      ? 'stopped'
      : record.status;
  }

  private _words(attempt: IAttemptView, look: Look): string {
    const { trans } = this._options;
    return candidateWord(attempt.record, this._ending(attempt, look), trans);
  }

  private _ending(attempt: IAttemptView, look: Look): string {
    const { trans } = this._options;
    const error = this._error();
    const name = error ? oneLine(error.ename, 60) : '';
    switch (look) {
      case 'running':
        return attempt.phase === 'writing'
          ? trans.__('writing…')
          : trans.__('running in the sandbox…');
      case 'succeeded':
        return trans.__('succeeded');
      case 'failed':
        return trans.__('failed: %1', name);
      case 'stopped':
        return trans.__('stopped');
      case 'edited':
        return attempt.edited
          ? trans.__('edited, not run since')
          : trans.__('edited, succeeded');
      case 'discarded':
        return trans.__('discarded');
      case 'accepted':
        if (!this._ranHere) {
          return trans.__('accepted, not run yet');
        }
        return name
          ? trans.__('accepted, failed here: %1', name)
          : trans.__('accepted');
    }
  }

  private _facts({ record, phase }: IAttemptView, costs: boolean): string[] {
    const { trans, cell } = this._options;
    const fromSandbox = record.role === 'attempt' || !this._ranHere;
    const output =
      fromSandbox && cell.model.outputs.length > 0
        ? [trans.__('sandbox output')]
        : [];
    if (record.role === 'accepted') {
      return output;
    }
    if (this._collapsed && isPassedOver(record)) {
      return [...reasonFact(record), ...timeFact(record.duration)];
    }
    return [
      ...timeFact(record.duration),
      ...(costs ? tokensFact(record.tokens, trans) : []),
      ...(phase === 'writing' ? [] : tierFact(record.tier, trans)),
      ...(record.rolled_back ? [trans.__('rolled back')] : []),
      ...output
    ];
  }

  private _buttons(attempt: IAttemptView): IButton[] {
    const { record } = attempt;
    if (record.role === 'accepted') {
      return this._ranHere && this._error() ? this._fix(attempt) : [];
    }
    if (record.status === 'running' || this._collapsed) {
      return [];
    }
    const { trans, actions } = this._options;
    const current = () => this._attempt ?? attempt;
    return [
      ...this._choose(attempt),
      {
        name: 'accept-and-run',
        label: trans.__('Accept and run'),
        tooltip: trans.__(
          'Make this an ordinary cell and run it in your kernel'
        ),
        icon: runIcon,
        main: !mayChoose(attempt),
        onClick: () => actions.accept(current(), true)
      },
      {
        name: 'accept',
        label: trans.__('Accept'),
        tooltip: trans.__('Make this an ordinary cell without running it'),
        icon: checkIcon,
        onClick: () => actions.accept(current(), false)
      },
      {
        name: 'edit',
        label: trans.__('Edit'),
        tooltip: trans.__(
          'Change the code; running the cell then tries it in the sandbox'
        ),
        icon: editIcon,
        onClick: () => actions.edit(current())
      },
      {
        name: 'run-in-sandbox',
        label: trans.__('Run in sandbox'),
        tooltip: trans.__('Run this code in the sandbox, not in your kernel'),
        icon: refreshIcon,
        onClick: () => actions.runInSandbox(current())
      },
      {
        name: 'discard',
        label: trans.__('Discard'),
        tooltip: trans.__(
          'Delete this cell and take its effect in the sandbox back'
        ),
        icon: deleteIcon,
        onClick: () => actions.discard(current())
      }
    ];
  }

  private _choose(attempt: IAttemptView): IButton[] {
    const { trans, actions } = this._options;
    if (!mayChoose(attempt)) {
      return [];
    }
    return [
      {
        name: 'choose',
        label: trans.__('Choose this one'),
        tooltip: trans.__('Have the task go on from this candidate instead'),
        icon: checkIcon,
        main: true,
        onClick: () => actions.choose(this._attempt ?? attempt)
      }
    ];
  }

  private _fix(attempt: IAttemptView): IButton[] {
    const { trans, actions } = this._options;
    const { fix } = actions;
    return fix
      ? [
          {
            name: 'fix',
            label: trans.__('Fix with agent'),
            tooltip: trans.__('Ask the agent why this cell fails'),
            icon: refreshIcon,
            onClick: () => fix(this._attempt ?? attempt)
          }
        ]
      : [];
  }

  /** The code ran in the user's kernel: a cell that was accepted loses its count. */
  private get _ranHere(): boolean {
    return this._options.cell.model.executionCount !== null;
  }

  /** The last error among the cell's outputs. */
  private _error(): IError | null {
    const { outputs } = this._options.cell.model;
    for (let index = outputs.length - 1; index >= 0; index--) {
      const output = outputs.get(index);
      if (output.type === 'error') {
        return output.toJSON() as IError;
      }
    }
    return null;
  }

  private _collapse(collapsed: boolean): void {
    const { cell } = this._options;
    const attempt = this._attempt?.record.role === 'attempt';
    cell.toggleClass('jp-codeagent-Attempt', attempt);
    cell.toggleClass('jp-codeagent-mod-collapsed', attempt && collapsed);
    cell.toggleClass(
      'jp-codeagent-mod-candidate',
      attempt && !!this._attempt && isCandidate(this._attempt.record)
    );
    this.node.dataset.collapsed = String(attempt && collapsed);
    if (collapsed !== this._collapsed) {
      this._collapsed = collapsed;
      cell.loadCollapseState();
    }
  }

  private _showToggle(shown: boolean): void {
    const { trans } = this._options;
    this._toggle.hidden = !shown;
    this._toggle.setAttribute('aria-expanded', String(!this._collapsed));
    const title = this._collapsed
      ? trans.__('Show the code and output of this attempt')
      : trans.__('Show this attempt as one line');
    if (this._toggle.title !== title) {
      this._toggle.title = title;
      this._toggle.setAttribute('aria-label', title);
      const icon = this._collapsed ? caretRightIcon : caretDownIcon;
      this._toggle.replaceChildren(icon.element({ tag: 'span' }));
    }
  }

  private _onToggle(): void {
    if (this._attempt) {
      this._options.actions.toggle(this._attempt, !this._collapsed);
    }
  }

  /** Show what the model said before the code, and what the sandbox noted. */
  private _showMore({ record }: IAttemptView): void {
    const waits = record.role === 'attempt' && !this._collapsed;
    const explanation = waits ? (record.explanation ?? '').trim() : '';
    const notes = waits ? (record.notes ?? []) : [];
    const reason = waits ? reasonFact(record).join('') : '';
    const said = JSON.stringify([reason, explanation, notes]);
    if (said === this._said) {
      return;
    }
    this._said = said;
    const parts: HTMLElement[] = [];
    if (reason) {
      const text = document.createElement('div');
      text.className = 'jp-codeagent-Strip-reason';
      text.textContent = reason;
      parts.push(text);
    }
    if (explanation) {
      const text = document.createElement('div');
      text.className = 'jp-codeagent-Strip-explanation';
      text.append(...richText(explanation));
      parts.push(text);
    }
    if (notes.length > 0) {
      const list = document.createElement('ul');
      list.className = 'jp-codeagent-Strip-notes';
      list.append(...notes.map(item));
      parts.push(list);
    }
    this._more.node.replaceChildren(...parts);
    this._more.setHidden(parts.length === 0);
  }

  private readonly _options: IStripOptions;
  private readonly _toggle = document.createElement('button');
  private readonly _more = new Widget();
  private _attempt: IAttemptView | null = null;
  private _collapsed = false;
  private _said = '';
}

type Look = IAttemptView['record']['status'] | 'stopped';

const ICONS: Record<Look, LabIcon> = {
  running: ellipsesIcon,
  failed: errorIcon,
  stopped: stopIcon,
  succeeded: checkIcon,
  accepted: checkIcon,
  discarded: closeIcon,
  edited: editIcon
};

/** Return what style sheets and tests know of a candidate. */
function standing(record: IAttemptRecord): Record<string, string> {
  if (!isCandidate(record)) {
    return { candidate: '' };
  }
  const chosen = record.chosen ? 'chosen' : 'passed-over';
  return { candidate: isDecided(record) ? chosen : 'open' };
}

function reasonFact({ reason }: IAttemptRecord): string[] {
  return reason ? [oneLine(reason, 300)] : [];
}

function item(note: string): HTMLElement {
  const entry = document.createElement('li');
  entry.textContent = visible(note);
  return entry;
}
