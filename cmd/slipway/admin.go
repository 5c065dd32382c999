package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/server"
	"github.com/slipway-ci/slipway/internal/cli/exit"
)

func (a *app) adminCmd() *cobra.Command {
	return group("admin", "Back up, restore and check a coordinator's data, on its host", a.adminBackupCmd(), a.adminRestoreCmd(), a.adminCheckCmd())
}

// coordinatorFlags say which coordinator's data is meant.
type coordinatorFlags struct{ file, data *string }

func addCoordinatorFlags(cmd *cobra.Command) coordinatorFlags {
	f := cmd.Flags()
	return coordinatorFlags{file: f.String("config", "", "the coordinator's configuration file"),
		data: f.String("data", "", "the coordinator's data directory (default: as the configuration says, or $XDG_DATA_HOME/slipway/coordinator)")}
}

func (a *app) coordinatorConfig(f coordinatorFlags) (config.Config, error) {
	conf := config.Default()
	if *f.file != "" {
		var err error
		if conf, err = config.Load(*f.file); err != nil {
			return conf, exit.With(exit.Invalid, err)
		}
	}
	if *f.data != "" {
		conf.DataDir = *f.data
	}
	if conf.DataDir == "" {
		conf.DataDir = filepath.Join(a.dirs().Data, "coordinator")
	}
	dir, err := filepath.Abs(conf.DataDir)
	if err != nil {
		return conf, exit.With(exit.Invalid, err)
	}
	conf.DataDir = dir
	return conf, exit.With(exit.Invalid, conf.Check())
}

// quietLog is for the store: what matters is the command's answer.
func quietLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// withFiles runs f on the coordinator's data.
func (a *app) withFiles(ctx context.Context, flags coordinatorFlags, f func(*server.Files) error) error {
	conf, err := a.coordinatorConfig(flags)
	if err != nil {
		return err
	}
	// To open a store makes one where there is none.
	if _, err := os.Stat(filepath.Join(conf.DataDir, "blobs")); err != nil {
		return exit.Invalidf("%s has no coordinator's data: %w; name its directory with --data, or its configuration with --config", conf.DataDir, err)
	}
	files, err := server.OpenFiles(ctx, conf, quietLog())
	if err != nil {
		return exit.With(exit.System, err)
	}
	if err := f(files); err != nil {
		_ = files.Close() // what went wrong before is what matters
		return err
	}
	return exit.With(exit.System, files.Close())
}
