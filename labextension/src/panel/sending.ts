/** What happens when the user sends what stands in the box. */

import type { Cell } from '@jupyterlab/cells';

import type { IAskOptions, INotebookWork } from '../tokens';
import type { PanelModel } from './model';
import {
  activeCell,
  failedCell,
  nameOf,
  quotesOf,
  selectionOf
} from './notebook';
import {
  type Attachment,
  EXPLAIN,
  FIX,
  type IRequest,
  join,
  requestOf,
  TEST
} from './requests';
import { type Slash, typed } from './slash';

/** What commands need from outside of the panel. */
export interface IDeeds {
  /** Let the user choose a name, or take this one, and save. */
  save(work: INotebookWork, name: string): Promise<void>;
  /** Take back the last Accept or Discard; returns what was done in one sentence. */
  undo(work: INotebookWork): Promise<string>;
}

/** Send what stands in the box of `model`; where that fails it stands there again. */
export async function send(model: PanelModel, deeds: IDeeds): Promise<void> {
  const { work, draft } = model;
  const { text, attachments } = draft;
  const what = typed(text);
  if (!work || (!text.trim() && !attachments.length)) {
    return;
  }
  if (what.kind === 'unknown') {
    const wrong = model.trans.__(
      'There is no command "/%1" here; /help lists them.',
      what.name
    );
    model.say({ kind: 'error', text: wrong });
    return;
  }
  draft.history.leave();
  draft.attachments = [];
  model.say(null);
  model.write('');
  const done = await model.act(() =>
    what.kind === 'command'
      ? carryOut(model, work, deeds, what.name, what.rest, attachments)
      : ask(model, work, requestOf(work.panel, what.text, attachments))
  );
  if (!done && !draft.text) {
    draft.text = text;
    draft.attachments = attachments;
    model.say(model.notice);
  }
}

async function carryOut(
  model: PanelModel,
  work: INotebookWork,
  deeds: IDeeds,
  name: Slash,
  rest: string,
  attachments: readonly Attachment[]
): Promise<unknown> {
  const { panel } = work;
  switch (name) {
    case 'help':
      return model.say({ kind: 'help', text: '' });
    case 'save':
      return deeds.save(work, rest);
    case 'undo':
      return model.say({ kind: 'said', text: await deeds.undo(work) });
    case 'fix': {
      const named = attachments.some(({ kind }) => kind === 'cell');
      const cell = named ? null : failedCell(panel);
      if (!named && !cell) {
        throw new Error(
          model.trans.__(
            'No cell of this notebook shows an error; attach the cell with @.'
          )
        );
      }
      const items = cell ? [cellItem(work, cell), ...attachments] : attachments;
      return ask(model, work, requestOf(panel, join(FIX, rest), items), cell);
    }
    case 'explain':
    case 'test': {
      const sentence = name === 'explain' ? EXPLAIN : TEST;
      const items = attachments.length ? attachments : meant(model, work);
      return ask(model, work, requestOf(panel, join(sentence, rest), items));
    }
  }
}

/** Return what the user means who attached nothing: the selection, else the active cell. */
function meant(model: PanelModel, work: INotebookWork): Attachment[] {
  const text = selectionOf(work.panel);
  if (text.trim()) {
    return [{ kind: 'selection', text, name: '' }];
  }
  const cell = activeCell(work.panel);
  if (!cell || !quotesOf(work.panel, cell)[0].text.trim()) {
    throw new Error(
      model.trans.__(
        'The active cell has no code to look at; select a cell, or attach one with @.'
      )
    );
  }
  return [cellItem(work, cell)];
}

function cellItem(work: INotebookWork, cell: Cell): Attachment {
  return { kind: 'cell', id: cell.model.id, name: nameOf(work.panel, cell) };
}

function ask(
  model: PanelModel,
  work: INotebookWork,
  request: IRequest,
  below?: Cell | null
): Promise<string> {
  const options: IAskOptions = {
    ...model.settings.askOptions(),
    files: request.files,
    variables: request.variables
  };
  if (model.review) {
    options.review = true;
    options.background = false; // nobody can be asked there
  }
  return work.ask(request.task, options, below ?? undefined);
}
