/** What can be typed after "/" and attached after "@" in this notebook. */

import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IOffer } from './completion';
import type { IInfo } from './info';
import { activeCell, attachable, nameOf, selectionOf } from './notebook';
import type { Attachment } from './requests';
import { SLASH, type Slash } from './slash';
import { oneLine } from './text';

/** Return what each command does, in one line. */
export function slashHelp(trans: TranslationBundle): Record<Slash, string> {
  return {
    fix: trans.__('Fix the cell that failed'),
    explain: trans.__(
      'Explain the active cell, the selection or what is attached'
    ),
    test: trans.__(
      'Write tests for the active cell, the selection or what is attached'
    ),
    save: trans.__('Save what was kept as a notebook'),
    undo: trans.__('Take back the last Accept or Discard in the notebook'),
    help: trans.__('Show what can be typed here')
  };
}

export function commandOffers(trans: TranslationBundle): IOffer[] {
  const help = slashHelp(trans);
  return SLASH.map(value => ({
    kind: 'command',
    value,
    label: value,
    detail: help[value],
    insert: `/${value}`
  }));
}

/** Return all that can be attached: where the user is first, then variables, files and further cells. */
export function thingOffers(
  panel: NotebookPanel,
  info: IInfo | null,
  trans: TranslationBundle
): IOffer[] {
  const active = activeCell(panel);
  const selection = selectionOf(panel);
  const cells = attachable(panel).map(({ id, name, line }): IOffer => ({
    kind: 'cell',
    value: id,
    label: name,
    detail: line,
    insert: name
  }));
  return [
    ...(selection.trim()
      ? [
          {
            kind: 'selection' as const,
            value: selection,
            label: trans.__('selection'),
            detail: oneLine(selection, 80),
            insert: trans.__('the selection')
          }
        ]
      : []),
    ...cells
      .filter(({ value }) => value === active?.model.id)
      .map(offer => ({ ...offer, label: trans.__('current cell') })),
    ...(info?.variables ?? []).map(({ name, type, detail }): IOffer => ({
      kind: 'variable',
      value: name,
      label: name,
      detail: oneLine(
        detail.startsWith(type) ? detail : `${type} ${detail}`,
        80
      ),
      insert: name
    })),
    ...(info?.files ?? []).map((name): IOffer => ({
      kind: 'file',
      value: name,
      label: name,
      detail: trans.__('file'),
      insert: name
    })),
    ...cells.filter(({ value }) => value !== active?.model.id)
  ];
}

/** Return what an offer attaches; null for commands. */
export function attachmentOf(offer: IOffer): Attachment | null {
  const name = offer.insert;
  switch (offer.kind) {
    case 'cell':
      return { kind: 'cell', id: offer.value, name };
    case 'selection':
      return { kind: 'selection', text: offer.value, name };
    case 'variable':
    case 'file':
      return { kind: offer.kind, name: offer.value };
    case 'command':
      return null;
  }
}

/** Return the active cell as an attachment. */
export function currentCell(panel: NotebookPanel): Attachment | null {
  const cell = panel.content.activeCell;
  return cell && { kind: 'cell', id: cell.model.id, name: nameOf(panel, cell) };
}
