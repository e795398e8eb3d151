/** What the panel has done elsewhere in the application. */

import type { JupyterFrontEnd } from '@jupyterlab/application';
import { PathExt } from '@jupyterlab/coreutils';
import { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { INotebookWork } from '../tokens';
import type { NotebookContext } from '../writable';
import type { PanelModel } from './model';
import { askHowToSave, notebookName } from './saveDialog';
import type { ISaveChoice } from './saving';
import { undoReview } from './undo';
import type { IPanelDeeds } from './view/context';

export function makeDeeds(
  app: JupyterFrontEnd,
  model: PanelModel,
  trans: TranslationBundle
): IPanelDeeds {
  const chosen = new WeakMap<INotebookWork, ISaveChoice>();
  const proposed = (work: INotebookWork): ISaveChoice => ({
    file: `${PathExt.basename(work.panel.context.localPath, '.ipynb')}.solved.ipynb`,
    options: new Set(),
    verify: true
  });
  const verify = (path: string): Promise<void> =>
    model.verifying.verify(path, openContext(app, path));
  const save = async (
    work: INotebookWork,
    choice: ISaveChoice
  ): Promise<void> => {
    const { path, unknown } = await model.saving.save(work, choice);
    if (choice.verify && model.verifiable) {
      await model.verifying.verify(path, null, unknown);
    }
    const open = openContext(app, path);
    if (open && !open.model.dirty) {
      await open.revert(); // it was saved again: the tab shows what it was
    }
  };
  const saveAs = async (work: INotebookWork): Promise<void> => {
    await model.refresh();
    const choice = await askHowToSave(
      chosen.get(work) ?? proposed(work),
      {
        options: model.info?.saving ?? new Set(),
        verifiable: model.verifiable
      },
      trans
    );
    if (choice) {
      chosen.set(work, choice);
      await save(work, choice);
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
    save: (work, name) =>
      name
        ? save(work, { ...proposed(work), file: notebookName(name) })
        : saveAs(work),
    saveAs,
    verify,
    undo: work => Promise.resolve(undoReview(work.panel, trans))
  };
}

/** Return the context of a notebook that is open; null where it is not. */
function openContext(
  app: JupyterFrontEnd,
  path: string
): NotebookContext | null {
  for (const widget of app.shell.widgets('main')) {
    if (
      widget instanceof NotebookPanel &&
      widget.context.localPath === path &&
      widget.context.isReady
    ) {
      return widget.context;
    }
  }
  return null;
}
