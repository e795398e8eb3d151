/** What the panel has done elsewhere in the application. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { InputDialog } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { INotebookWork } from '../tokens';
import type { PanelModel } from './model';
import { undoReview } from './undo';
import type { IPanelDeeds } from './view/context';

export function makeDeeds(
  app: JupyterFrontEnd,
  model: PanelModel,
  trans: TranslationBundle
): IPanelDeeds {
  const save = async (
    work: INotebookWork,
    name: string,
    attempts = false
  ): Promise<void> => {
    const file = /\.ipynb$/.test(name) ? name : `${name}.ipynb`;
    const verifiable = model.models !== null;
    await model.saving.save(work, file, attempts, verifiable);
  };
  const saveAs = async (work: INotebookWork): Promise<void> => {
    const path = work.panel.context.localPath;
    const result = await InputDialog.getText({
      title: trans.__('Save as notebook'),
      label: trans.__('File name, in the folder of this notebook:'),
      text: `${PathExt.basename(path, '.ipynb')}.solved.ipynb`,
      okLabel: trans.__('Save'),
      required: true,
      checkbox: { label: trans.__('With failed attempts'), checked: false }
    });
    if (result.button.accept && result.value?.trim()) {
      await save(work, result.value.trim(), result.isChecked === true);
    }
  };
  return {
    newNotebook: async () => {
      const kernelName = app.serviceManager.kernelspecs.specs?.default;
      await app.commands.execute('notebook:create-new', { kernelName });
    },
    open: async path => {
      await app.commands.execute('docmanager:open', { path });
    },
    save: (work, name) => (name ? save(work, name) : saveAs(work)),
    saveAs,
    undo: work => Promise.resolve(undoReview(work.panel, trans))
  };
}
