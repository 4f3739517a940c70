"""The page that says which Python packages are missing, and installs them once the user agrees."""

from __future__ import annotations

from collections.abc import Callable

from slicer.i18n import tr as _

from TumorSegSlicer.install import packages
from TumorSegSlicer.panel.shared.context import Context


class FirstUsePage:
    """Takes the place of all sections while packages are missing and the user has not put that off."""

    def __init__(self, context: Context) -> None:
        """Begins hidden."""
        self._context, self._declined = context, False
        self._wish: Callable[[], None] | None = None  # what the user asked for before the page came
        self._wished: object = None  # when what was chosen
        ui = context.ui
        ui.firstUsePage.hide()
        ui.installButton.connect("clicked(bool)", lambda _checked: self._onInstall())
        ui.notNowButton.connect("clicked(bool)", lambda _checked: self._onNotNow())
        ui.cancelButton.connect("clicked(bool)", lambda _checked: self.drop())
        context.packages.onNeeded.connect(self._onNeeded)
        context.packages.onInstalling.connect(self._onInstalling)
        context.packages.onLine.connect(self._onLine)
        context.packages.onProgress.connect(self._onProgress)
        context.packages.onEnded.connect(self._onEnded)

    def enter(self) -> None:
        """The module was opened: where packages are missing the page is shown, unless the user has put it off."""
        if not (self._declined or self._context.packages.installing or self._context.packages.complete):
            self._show()

    def drop(self) -> None:
        """What the user asked for before the page came is not done after the installation."""
        self._wish = None

    def _onNeeded(self, wish: Callable[[], None] | None) -> None:
        self._wish, self._wished = wish, self._chosen()
        self._show()

    def _chosen(self) -> object:
        """What the user has chosen: the wish is about that."""
        return self._context.parameters.values()

    def _show(self) -> None:
        """Shows what is missing, or why it cannot be installed."""
        from TumorSegLib import TumorSegError

        ui, problem = self._context.ui, ""
        try:
            packages.nextStep()
        except TumorSegError as error:
            problem = str(error)
        words = _("TumorSeg needs Python packages that Slicer does not have yet:\n{plan}")
        ui.firstUseLabel.text = problem or words.format(plan=packages.plan())
        ui.installButton.enabled = not problem
        ui.installButton.text = _("Install")
        self._context.messages.say(_("Nothing is installed unless you press Install."))
        self._setShown(True)

    def _setShown(self, shown: bool) -> None:
        """Nothing else can be pressed, also by keys, while the page is shown."""
        ui = self._context.ui
        ui.firstUsePage.setVisible(shown)
        ui.sectionsArea.setVisible(not shown)
        ui.sections.enabled = ui.stepsRow.enabled = not shown

    def _onInstall(self) -> None:
        self._context.ui.installLog.clear()
        self._context.packages.install()

    def _onNotNow(self) -> None:
        self._declined = True
        self.drop()
        self._setShown(False)
        self._context.messages.say(_("Nothing was installed. You are asked again when packages are needed."))

    def _onInstalling(self, installing: bool) -> None:
        ui = self._context.ui
        ui.installButton.enabled = ui.notNowButton.enabled = not installing
        ui.cancelButton.enabled = installing
        ui.progressBar.setRange(0, 0 if installing else 1)  # an empty range means that it is not known how long
        ui.progressBar.setFormat("%p %")

    def _onLine(self, line: str) -> None:
        """pip begins something else, of which it is not known how long it takes."""
        self._context.ui.installLog.appendPlainText(line)
        self._context.ui.progressBar.setRange(0, 0)

    def _onProgress(self, done: int, total: int) -> None:
        """In kB: a progress bar counts to 2^31, and torch may have more bytes."""
        bar = self._context.ui.progressBar
        bar.setRange(0, total // 1000)
        bar.setValue(done // 1000)
        bar.setFormat(_("%p % of {size} MB").format(size=total // 1_000_000))

    def _onEnded(self, problem: str) -> None:
        """All packages are there, and what the user asked for is done; or pip's reason is shown, to try again."""
        if not problem:
            self._setShown(False)
            wish, self._wish = self._wish, None
            if wish is not None and self._wished == self._chosen() and not self._context.packages.restart:
                wish()
            return
        ui = self._context.ui
        ui.firstUseLabel.text = f"{problem}\n\n{packages.plan()}"
        ui.installButton.text = _("Try again")
