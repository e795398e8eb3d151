/** The panel's place in the side bar, empty until it is first shown. */

import type { Message } from '@lumino/messaging';
import { Panel } from '@lumino/widgets';

import { agentIcon } from '../icons';
import type { PanelModel } from './model';
import type { PanelView } from './view';

/** What is loaded when the panel is first shown. */
export interface IContent {
  model: PanelModel;
  view: PanelView;
}

export class PanelHost extends Panel {
  /**
   * @param title - The name of the panel.
   * @param load - Called once.
   */
  constructor(
    title: string,
    private _load: () => Promise<IContent>
  ) {
    super();
    this.id = 'jupyter-codeagent-panel';
    this.addClass('jp-codeagent-Panel');
    this.title.icon = agentIcon;
    this.title.caption = title;
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', title);
  }

  /** The panel's content, loaded where it is not yet. */
  content(): Promise<IContent> {
    this._content ??= this._load().then(content => {
      this.addWidget(content.view);
      this.disposed.connect(() => content.model.dispose());
      return content;
    });
    return this._content;
  }

  protected override onBeforeShow(message: Message): void {
    super.onBeforeShow(message);
    void this.content();
  }

  private _content: Promise<IContent> | null = null;
}
