/** The panel's content as a widget; loaded when the panel is first shown. */

import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';

import type { INotebookWork } from '../../tokens';
import { Changes, ChangesButton } from './Changes';
import { Composer } from './Composer';
import { type IPanelContext, PanelContext, usePanel } from './context';
import { Conversation } from './Conversation';
import { Header } from './Header';
import { Messages } from './Messages';
import { Verification, VerificationButton } from './Verification';

export class PanelView extends ReactWidget {
  constructor(private _context: IPanelContext) {
    super();
    this.addClass('jp-codeagent-PanelView');
  }

  /** Ask for a name, and save the work of the active notebook. */
  async saveAs(): Promise<void> {
    const { model, deeds } = this._context;
    if (model.work) {
      await deeds.saveAs(model.work);
    }
  }

  /** Verify the notebook of `work`, and show how that goes on. */
  async verify(work: INotebookWork | null): Promise<void> {
    const { model, deeds } = this._context;
    if (work) {
      model.showVerification();
      await deeds.verify(work.panel.context.localPath);
    }
  }

  protected render(): JSX.Element {
    return (
      <PanelContext.Provider value={this._context}>
        <UseSignal signal={this._context.model.changed}>
          {() => <Content />}
        </UseSignal>
      </PanelContext.Provider>
    );
  }
}

function Content(): JSX.Element {
  const { model } = usePanel();
  const { work } = model;
  if (!work) {
    return <NoNotebook />;
  }
  const key = work.panel.id;
  return (
    <>
      <Header work={work} />
      {model.verifying.open || model.changes.open ? (
        <>
          {model.verifying.open ? (
            <Verification work={work} />
          ) : (
            <Changes work={work} />
          )}
          <Messages />
        </>
      ) : (
        <>
          <Conversation
            key={`list ${key}`}
            work={work}
            revision={model.revision}
          />
          <ChangesButton />
          <VerificationButton />
          <Messages />
          <Composer key={`box ${key}`} work={work} />
        </>
      )}
    </>
  );
}

function NoNotebook(): JSX.Element {
  const { model, deeds, trans } = usePanel();
  return (
    <div className="jp-codeagent-Welcome">
      <p>{trans.__('No notebook is open.')}</p>
      <p className="jp-codeagent-Panel-quiet">
        {trans.__(
          'The agent works in a notebook: open one, or make a new one.'
        )}
      </p>
      <button
        type="button"
        className="jp-codeagent-Button jp-mod-accept"
        onClick={() => void model.act(() => deeds.newNotebook())}
      >
        {trans.__('New notebook')}
      </button>
      <Messages />
    </div>
  );
}
