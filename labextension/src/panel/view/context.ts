/** What all parts of the panel use. */

import type { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import type { IRenderMime } from '@jupyterlab/rendermime';
import type { TranslationBundle } from '@jupyterlab/translation';
import { createContext, useContext } from 'react';

import type { INotebookWork } from '../../tokens';
import type { PanelModel } from '../model';
import type { IDeeds } from '../sending';

export interface IPanelDeeds extends IDeeds {
  newNotebook(): Promise<void>;
  /** Ask for a name, then save. */
  saveAs(work: INotebookWork): Promise<void>;
  open(path: string): Promise<void>;
  /** Verify the notebook at `path`, as the server names it, and follow that to its end. */
  verify(path: string): Promise<void>;
}

export interface IPanelContext {
  model: PanelModel;
  deeds: IPanelDeeds;
  trans: TranslationBundle;
  /** Without it Markdown is shown as it is written. */
  markdown: IRenderMime.IMarkdownParser | null;
  /** Without it code has one colour. */
  languages: IEditorLanguageRegistry | null;
}

export const PanelContext = createContext<IPanelContext | null>(null);

export function usePanel(): IPanelContext {
  return useContext(PanelContext)!;
}
