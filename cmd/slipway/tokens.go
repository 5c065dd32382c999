package main

import "github.com/spf13/cobra"

func (a *app) tokensCmd() *cobra.Command {
	return group("tokens", "Tokens of users", a.tokensCreateCmd())
}
