/** What strips above attempts and bars of tasks have in common: a status, facts, and buttons. */

import {
  addToolbarButtonClass,
  type LabIcon,
  ReactWidget,
  Toolbar,
  ToolbarButtonComponent
} from '@jupyterlab/ui-components';
import { PanelLayout, Widget } from '@lumino/widgets';
import { createElement } from 'react';

/** A button of a bar. */
export interface IButton {
  name: string;
  label: string;
  tooltip: string;
  icon: LabIcon;
  main?: boolean;
  onClick: () => unknown;
}

/** What a bar shows. */
export interface ILook {
  /** Read out as the name of the group. */
  name: string;
  icon: LabIcon;
  /** Read out when it changes. */
  status: string;
  facts: string[];
  buttons: IButton[];
  data: Record<string, string>;
}

export class Bar extends Widget {
  constructor(className: string) {
    super();
    this.addClass('jp-codeagent-Bar');
    this.addClass(className);
    this.node.setAttribute('role', 'group');
    const layout = new PanelLayout();
    layout.addWidget(this._head());
    this.layout = layout;
  }

  /** Show `look`; what is the same is left alone. */
  protected present(look: ILook): void {
    for (const [key, value] of Object.entries(look.data)) {
      this.node.dataset[key] = value;
    }
    this.node.setAttribute('aria-label', look.name);
    setText(this._titleNode, look.name);
    setText(this._statusNode, look.status);
    this._showIcon(look.icon);
    setText(this._factsNode, look.facts.join('\u00a0· '));
    this._showButtons(look.buttons);
  }

  /** The line with status and buttons. */
  protected readonly line = document.createElement('div');

  private _head(): Widget {
    const head = new Widget({ node: document.createElement('div') });
    head.addClass('jp-codeagent-Bar-head');
    head.layout = this._headLayout;
    this.line.className = 'jp-codeagent-Bar-line';
    this._iconNode.className = 'jp-codeagent-Bar-icon';
    this._iconNode.setAttribute('aria-hidden', 'true');
    this._titleNode.className = 'jp-codeagent-Bar-title';
    this._statusNode.className = 'jp-codeagent-Bar-status';
    this._statusNode.setAttribute('aria-live', 'polite');
    this._factsNode.className = 'jp-codeagent-Bar-facts';
    this.line.append(
      this._iconNode,
      this._titleNode,
      this._statusNode,
      this._factsNode
    );
    this._headLayout.addWidget(new Widget({ node: this.line }));
    return head;
  }

  private _showIcon(icon: LabIcon): void {
    if (this._iconNode.dataset.icon !== icon.name) {
      this._iconNode.dataset.icon = icon.name;
      this._iconNode.replaceChildren(icon.element({ tag: 'span' }));
    }
  }

  private _showButtons(buttons: readonly IButton[]): void {
    const wanted = buttons.map(button => button.name).join(' ');
    if (wanted === this._shown) {
      return;
    }
    this._shown = wanted;
    const focused = this._toolbar?.node.contains(document.activeElement);
    this._toolbar?.dispose();
    this._toolbar = buttons.length > 0 ? toolbarOf(buttons) : null;
    if (this._toolbar) {
      this._headLayout.addWidget(this._toolbar);
      if (focused) {
        this._toolbar.node.querySelector<HTMLElement>('jp-button')?.focus();
      }
    }
  }

  private readonly _headLayout = new PanelLayout();
  private readonly _iconNode = document.createElement('span');
  private readonly _titleNode = document.createElement('span');
  private readonly _statusNode = document.createElement('span');
  private readonly _factsNode = document.createElement('span');
  private _toolbar: Toolbar | null = null;
  private _shown = '';
}

function toolbarOf(buttons: readonly IButton[]): Toolbar {
  const toolbar = new Toolbar();
  toolbar.addClass('jp-codeagent-Bar-toolbar');
  for (const { name, label, tooltip, icon, main, onClick } of buttons) {
    // Not a ToolbarButton, which is read out as one that can be pressed and stays so.
    const button = createElement(ToolbarButtonComponent, {
      label,
      tooltip,
      icon,
      onClick: () => void onClick(),
      className: main ? 'jp-codeagent-mod-main' : undefined,
      dataset: { button: name }
    });
    toolbar.addItem(name, addToolbarButtonClass(ReactWidget.create(button)));
  }
  return toolbar;
}

/** Set text only where it differs, so that nothing is read out twice. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}
