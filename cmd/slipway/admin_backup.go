package main

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/coordinator/backup"
	"github.com/slipway-ci/slipway/coordinator/server"
	"github.com/slipway-ci/slipway/internal/cli/admin"
	"github.com/slipway-ci/slipway/internal/cli/exit"
)

func (a *app) adminBackupCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup TARGET", Short: "Copy a coordinator's data, also while it runs", Args: cobra.ExactArgs(1),
		Long: `Copy a coordinator's data into a new directory, or, if TARGET ends in .tar, into a tar. It may run meanwhile: the copy is the store
as of one moment, with everything that it refers to. A directory on the data directory's file system has its blobs as links.

Run it on the coordinator's host, as its user.`,
	}
	flags := addCoordinatorFlags(cmd)
	without := cmd.Flags().Bool("without-keys", false, "leave out the certificate authority's key: after a restore agents must join again")
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		return a.withFiles(cmd.Context(), flags, func(f *server.Files) (err error) {
			to, done, err := a.sink(args[0])
			if err != nil {
				return exit.With(exit.Invalid, err)
			}
			m, err := f.Backup(cmd.Context(), to, !*without)
			if err = done(err); err != nil {
				return exit.With(exit.System, err)
			}
			return admin.Manifest(a.out, "backed up to", args[0], m, json)
		})
	}
	return cmd
}

// sink opens what a backup goes to; done closes it, and removes a tar that is not whole.
func (a *app) sink(target string) (to backup.Sink, done func(error) error, err error) {
	if !strings.HasSuffix(target, ".tar") {
		to, err = backup.Dir(target)
		return to, func(err error) error { return err }, err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return backup.Tar(f, a.now()), func(err error) error {
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return errors.Join(err, os.Remove(target))
		}
		return nil
	}, nil
}

func (a *app) adminRestoreCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore BACKUP", Short: "Put a backup into a new data directory", Args: cobra.ExactArgs(1),
		Long: `Put a backup, a directory or a tar, into a data directory that is new or empty, and its store's keys into a store that has none.
Every blob is held against its digest. Start the coordinator on it afterwards; jobs that ran when the backup was made are taken up again by
their agents, or are lost as after any outage.`,
	}
	flags := addCoordinatorFlags(cmd)
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		conf, err := a.coordinatorConfig(flags)
		if err != nil {
			return err
		}
		m, err := server.Restore(cmd.Context(), conf, args[0], quietLog())
		switch {
		case errors.Is(err, backup.ErrNotEmpty):
			return exit.With(exit.Invalid, err)
		case err != nil:
			return exit.With(exit.System, err)
		}
		return admin.Manifest(a.out, "restored into", conf.DataDir, m, json)
	}
	return cmd
}
