package main

import "github.com/spf13/cobra"

func (a *app) artifactsCmd() *cobra.Command {
	return group("artifacts", "List and download artifacts", a.artifactsListCmd(), a.artifactsGetCmd())
}
