package server_test

import (
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/server"
)

func TestACheckBesideACoordinatorLeavesItsIndexAlone(t *testing.T) {
	s := start(t, config.StoreEtcd)
	path := filepath.Join(s.conf.DataDir, server.HistoryFile)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := server.OpenFiles(t.Context(), s.conf, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = files.Close() }()
	if !files.Running {
		t.Fatal("the coordinator is not seen")
	}
	if report, err := files.Check(t.Context(), false, false); err != nil || len(report.Findings) > 0 {
		t.Errorf("%+v, %v", report.Findings, err)
	}
	if _, err := files.Check(t.Context(), false, true); !errors.Is(err, server.ErrRunning) {
		t.Errorf("rebuilding: %v", err)
	}
	// As one of a newer coordinator is to an older command.
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), "PRAGMA user_version = 77")
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	report, err := files.Check(t.Context(), false, false)
	if err != nil || len(report.Findings) != 1 || report.Findings[0].Where != "index" {
		t.Errorf("%+v, %v", report.Findings, err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("another index is in place of the one that the coordinator has open: %v", err)
	}
}
