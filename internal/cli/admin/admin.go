// Package admin tells what `slipway admin` did.
package admin

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/slipway-ci/slipway/coordinator/backup"
)

// Report writes what a check found.
func Report(w io.Writer, r backup.Report, asJSON bool) error {
	if asJSON {
		if r.Findings == nil {
			r.Findings = []backup.Finding{} // a list is always there
		}
		return write(w, r)
	}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintf(w, "%s: %s\n  do: %s\n", f.Where, f.What, f.Do); err != nil {
			return err
		}
	}
	verdict := "everything holds together"
	if n := len(r.Findings); n == 1 {
		verdict = "1 discrepancy"
	} else if n > 1 {
		verdict = fmt.Sprintf("%d discrepancies", n)
	}
	_, err := fmt.Fprintf(w, "%s: %d projects, %d sealed runs, %d expired, %d logs, %d live or unsealed runs, %d blobs (%d that nothing needs any more)\n",
		verdict, r.Projects, r.Bundles, r.Tombstones, r.Logs, r.LiveRuns, r.Blobs, r.Unreferenced)
	return err
}

// Manifest writes what a backup has.
func Manifest(w io.Writer, verb, where string, m backup.Manifest, asJSON bool) error {
	if asJSON {
		return write(w, m)
	}
	keys := "with the certificate authority's key: keep it as safe as that"
	if !m.HasKeys {
		keys = "without keys: agents and users need new certificates and tokens after a restore"
	}
	_, err := fmt.Fprintf(w, "%s %s: %d keys of the store, %d blobs (%.1f MiB), %d files of logs; %s\n", verb, where, m.Keys, m.Blobs, float64(m.BlobBytes)/(1<<20), m.Logs, keys)
	return err
}

func write(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
