/** The dialog of "Save as notebook". */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import type { ISaveChoice, SaveOption } from './saving';

export interface ISaveOffer {
  /** What the kernel offers. */
  options: ReadonlySet<SaveOption>;
  /** The server can verify. */
  verifiable: boolean;
}

/** Ask how to save; `before` is what the user chose the last time, or what is proposed. Null where the user does not want to. */
export async function askHowToSave(
  before: ISaveChoice,
  offer: ISaveOffer,
  trans: TranslationBundle
): Promise<ISaveChoice | null> {
  const result = await showDialog({
    title: trans.__('Save as notebook'),
    body: new SaveForm(before, offer, trans),
    buttons: [
      Dialog.cancelButton(),
      Dialog.okButton({ label: trans.__('Save') })
    ],
    focusNodeSelector: 'input[type="text"]'
  });
  const choice = result.button.accept ? result.value : null;
  return choice?.file ? choice : null;
}

class SaveForm extends Widget implements Dialog.IBodyWidget<ISaveChoice> {
  constructor(
    before: ISaveChoice,
    private _offer: ISaveOffer,
    private _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-codeagent-SaveForm');
    const trans = _trans;
    this._file = input('text', before.file);
    this._file.className = 'jp-mod-styled';
    this._file.required = true;
    this._file.spellcheck = false;
    this.node.append(
      labelled(
        this._file,
        trans.__('File name, in the folder of this notebook'),
        true
      )
    );
    if (_offer.options.has('tasks')) {
      this.node.append(this._parts(before.options.has('tasks')));
    }
    const checks: [SaveOption, string, string][] = [
      [
        'attempts',
        trans.__('Keep failed attempts'),
        trans.__('As collapsed cells that are not executed.')
      ],
      [
        'script',
        trans.__('Name the packages in the notebook'),
        trans.__(
          'In a comment at its top, from which tools such as juv install them.'
        )
      ],
      [
        'lock',
        trans.__('Write a lock file'),
        trans.__('Asks the package index on the network for every package.')
      ]
    ];
    for (const [option, words, detail] of checks) {
      if (_offer.options.has(option)) {
        const box = checkbox(before.options.has(option));
        this._boxes.set(option, box);
        this.node.append(labelled(box, words, false, detail));
      }
    }
    if (_offer.verifiable) {
      this._verify.checked = before.verify;
      this.node.append(
        labelled(
          this._verify,
          trans.__('Verify it'),
          false,
          trans.__('Runs the saved file in a fresh sandbox and stamps it.')
        )
      );
    }
  }

  /** Called by the dialog. */
  getValue(): ISaveChoice {
    const options = new Set<SaveOption>();
    for (const [option, box] of this._boxes) {
      if (box.checked) {
        options.add(option);
      }
    }
    const name = this._file.value.trim();
    return {
      file: name && notebookName(name),
      options,
      verify: this._offer.verifiable && this._verify.checked
    };
  }

  /** The whole notebook, or the tasks alone. */
  private _parts(tasks: boolean): HTMLElement {
    const trans = this._trans;
    const group = document.createElement('fieldset');
    const legend = document.createElement('legend');
    legend.textContent = trans.__('What is saved');
    const [whole, alone] = [input('radio', 'whole'), input('radio', 'tasks')];
    whole.name = alone.name = 'jp-codeagent-parts';
    whole.checked = !tasks;
    alone.checked = tasks;
    this._boxes.set('tasks', alone);
    group.append(
      legend,
      labelled(
        whole,
        trans.__('The whole notebook'),
        false,
        trans.__('Your cells that ran, and the tasks, in their order.')
      ),
      labelled(alone, trans.__('The tasks alone'), false)
    );
    return group;
  }

  private readonly _file: HTMLInputElement;
  private readonly _verify = checkbox(false);
  private readonly _boxes = new Map<SaveOption, HTMLInputElement>();
}

/** Return `name` with the ending that notebooks have. */
export function notebookName(name: string): string {
  return /\.ipynb$/.test(name) ? name : `${name}.ipynb`;
}

function input(type: string, value: string): HTMLInputElement {
  const made = document.createElement('input');
  made.type = type;
  made.value = value;
  return made;
}

function checkbox(checked: boolean): HTMLInputElement {
  const made = input('checkbox', 'on');
  made.checked = checked;
  return made;
}

/** Return `field` in a label with its words, above it or beside it, and what else there is to know. */
function labelled(
  field: HTMLInputElement,
  words: string,
  above: boolean,
  detail = ''
): HTMLElement {
  const label = document.createElement('label');
  const text = document.createElement('span');
  text.textContent = words;
  label.append(...(above ? [text, field] : [field, text]));
  if (detail) {
    const more = document.createElement('small');
    more.textContent = detail;
    text.append(more);
  }
  return label;
}
