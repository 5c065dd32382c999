package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/slipway-ci/slipway/coordinator/maintain"
)

// Database implements maintain.Database on every member that a client knows.
type Database struct {
	client *clientv3.Client
	quota  int64
	// shared with others: it is only looked at.
	shared bool
}

var _ maintain.Database = (*Database)(nil)

// NewDatabase returns the database behind a client, which it does not own. quota in bytes is what the members were started with; 0 is etcd's
// default of 2 GiB, where the members do not say. Of one that is shared with others Compact and Defragment do nothing.
func NewDatabase(client *clientv3.Client, quota int64, shared bool) *Database {
	if quota <= 0 {
		quota = 2 << 30
	}
	return &Database{client: client, quota: quota, shared: shared}
}

// Database is the embedded etcd's.
func (e *Embedded) Database() *Database { return NewDatabase(e.remote, e.quota, false) }

// memberPatience is how long one member may take to tell its state: one that is dead must not take the time of the others.
const memberPatience = 5 * time.Second

// Status implements maintain.Database: the largest of all members that answer. It fails if none does.
func (d *Database) Status(ctx context.Context) (maintain.Status, error) {
	out, told := maintain.Status{}, int64(0)
	var errs []error
	for _, endpoint := range d.client.Endpoints() {
		s, err := d.status(ctx, endpoint)
		if err != nil {
			errs = append(errs, fmt.Errorf("the state of etcd at %s: %w", endpoint, err))
			continue
		}
		out.Size, out.InUse, out.Revision = max(out.Size, s.DbSize), max(out.InUse, s.DbSizeInUse), max(out.Revision, s.Header.Revision)
		if q := s.DbSizeQuota; q > 0 && (told == 0 || q < told) {
			told = q
		}
	}
	if len(errs) == len(d.client.Endpoints()) {
		return maintain.Status{}, errors.Join(errs...)
	}
	if out.Quota = told; told == 0 {
		out.Quota = d.quota
	}
	return out, nil
}

func (d *Database) status(ctx context.Context, endpoint string) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	return d.client.Status(ctx, endpoint)
}

// Compact implements maintain.Database.
func (d *Database) Compact(ctx context.Context, revision int64) error {
	if d.shared {
		return nil
	}
	if _, err := d.client.Compact(ctx, revision); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compacting etcd: %w", err)
	}
	return nil
}

// Defragment implements maintain.Database: one member after the other, each of which serves nobody meanwhile. One that fails keeps no other from it.
func (d *Database) Defragment(ctx context.Context) error {
	if d.shared {
		return nil
	}
	var errs []error
	for _, endpoint := range d.client.Endpoints() {
		if _, err := d.status(ctx, endpoint); err != nil {
			errs = append(errs, fmt.Errorf("the state of etcd at %s: %w", endpoint, err))
		} else if _, err := d.client.Defragment(ctx, endpoint); err != nil {
			errs = append(errs, fmt.Errorf("defragmenting etcd at %s: %w", endpoint, err))
		}
	}
	return errors.Join(errs...)
}
