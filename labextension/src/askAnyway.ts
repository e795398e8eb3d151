/** The question before an attempt is accepted that the kernel has something against. */

import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import { visible } from './panel/text';

/** Return whether the user wants it anyway. */
export async function askAnyway(
  warnings: readonly string[],
  trans: TranslationBundle
): Promise<boolean> {
  const body = new Widget();
  for (const warning of new Set(warnings)) {
    const line = document.createElement('p');
    line.textContent = visible(warning);
    body.node.append(line);
  }
  const { button } = await showDialog({
    title: trans.__('Something changed meanwhile'),
    body,
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.okButton({ label: trans.__('Accept anyway') })
    ],
    defaultButton: 0
  });
  return button.accept;
}
