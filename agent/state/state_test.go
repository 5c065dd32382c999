package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

func openDB(t *testing.T, dir, boot string) *DB {
	t.Helper()
	db, err := Open(dir, boot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.bolt.Close() })
	return db
}

func create(t *testing.T, db *DB, id string) {
	t.Helper()
	if err := db.Create(&fleetv1.Assignment{AttemptId: id, RunId: "r", Token: "secret-token"}, &Progress{Phase: PhaseAccepted}); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsComeBack(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir, "b1")
	create(t, db, "a")
	create(t, db, "ab")
	p := &Progress{Phase: PhaseRunning, Seq: 7, Steps: []*Step{{Number: 0, Name: "Set up job", EndedMS: -1, Log: &Log{Length: 3, SHA256: "x"}}}, Failure: &Failure{Code: "lost"}}
	for _, err := range []error{db.Save("a", p), db.SaveAck("a", 0, Ack{Offset: 3, Complete: true}), db.SaveAck("ab", 12, Ack{Offset: 9}), db.Delete("gone")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, dir, "b1")
	all, err := db.Load()
	if err != nil || len(all) != 2 || !reflect.DeepEqual(all["a"].Progress, p) || all["a"].Assignment.GetRunId() != "r" {
		t.Fatalf("loaded %v, %v", all, err)
	}
	if all["a"].Assignment.GetToken() != "" {
		t.Error("the token was kept")
	}
	if all["a"].Acked[0] != (Ack{3, true}) || all["ab"].Acked[12] != (Ack{Offset: 9}) {
		t.Errorf("acks %v, %v", all["a"].Acked, all["ab"].Acked)
	}
	if err := db.Delete("a"); err != nil {
		t.Fatal(err)
	}
	if all, err = db.Load(); err != nil || len(all) != 1 || len(all["ab"].Acked) != 1 {
		t.Errorf("after delete: %v, %v", all, err)
	}
}

func TestASecondAgentIsRefused(t *testing.T) {
	dir := t.TempDir()
	openDB(t, dir, "b")
	if _, err := Open(dir, "b"); !errors.Is(err, bolterrors.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestADamagedDatabaseIsPutAside(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"not a database": func([]byte) []byte { return []byte("hello, this is no database at all") },
		"torn": func(b []byte) []byte {
			for i := 2 * os.Getpagesize(); i < len(b); i++ {
				b[i] = 0xff
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := openDB(t, dir, "b1")
			create(t, db, "a")
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "state.db")
			data, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, damage(data), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			db = openDB(t, dir, "b2")
			if all, err := db.Load(); err != nil || len(all) != 0 {
				t.Errorf("loaded %v, %v", all, err)
			}
			if _, err := os.Stat(path + ".damaged"); err != nil {
				t.Errorf("not put aside: %v", err)
			}
		})
	}
}

func TestADatabaseThatARebootLeftOpenIsPutAside(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir, "b1")
	create(t, db, "a")
	// The process is killed and begins again in the same boot: everything is there.
	if err := db.bolt.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, dir, "b1")
	if all, err := db.Load(); err != nil || len(all) != 1 {
		t.Errorf("after a kill: %v, %v", all, err)
	}
	if err := db.bolt.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, dir, "b2")
	if all, err := db.Load(); err != nil || len(all) != 0 {
		t.Errorf("after a crash of the host: %v, %v", all, err)
	}
	create(t, db, "b")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, dir, "b3")
	if all, err := db.Load(); err != nil || len(all) != 1 {
		t.Errorf("after an orderly reboot: %v, %v", all, err)
	}
}

func TestANewerSchemaIsRefusedAndKept(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir, "b")
	create(t, db, "a")
	err := db.bolt.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketMeta).Put(keySchema, []byte{0, 0, 0, 99}) })
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	db, err = Open(dir, "b")
	if err != nil || !db.Foreign() {
		t.Fatalf("foreign %v, %v", db.Foreign(), err)
	}
	all, err := db.Load()
	if err != nil || len(all) != 1 || all["a"].Assignment.GetAttemptId() != "a" || all["a"].Assignment.GetRunId() != "" {
		t.Errorf("its attempts: %v, %v", all, err)
	}
	if p := db.Problems(); len(p) != 1 || !strings.HasPrefix(p[0], "degraded: ") || !strings.Contains(p[0], "start the newer agent") {
		t.Errorf("problems %q", p)
	}
	if err := db.Create(&fleetv1.Assignment{AttemptId: "b"}, &Progress{}); !errors.Is(err, ErrSchema) {
		t.Errorf("a new attempt: %v", err)
	}
	db.Mend()
	for _, err := range []error{db.Delete("a"), db.Sync(), db.Close()} {
		if err != nil {
			t.Error(err)
		}
	}
	if after, err := os.ReadFile(filepath.Join(dir, "state.db")); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a newer agent's database was changed, %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "state.db.damaged")); err == nil {
		t.Error("a newer agent's database was put aside")
	}
}

func BenchmarkSave(b *testing.B) {
	db, err := Open(b.TempDir(), "b")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	p := &Progress{}
	for i := range 20 {
		p.Steps = append(p.Steps, &Step{Number: uint32(i), Name: "Run something"})
	}
	for b.Loop() {
		if err := db.Save("a", p); err != nil {
			b.Fatal(err)
		}
	}
}
