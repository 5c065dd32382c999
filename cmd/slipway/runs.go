package main

import "github.com/spf13/cobra"

func (a *app) runsCmd() *cobra.Command {
	return group("runs", "List, show, cancel and rerun runs", a.runsListCmd(), a.runsShowCmd(), a.runsCancelCmd(), a.runsRerunCmd())
}
