package scenarios

import (
	"strings"
	"testing"
)

// TestPostgres is reached by a job on the host at localhost:port, also at another port than its own, and by a job in a
// container by its alias; steps begin once it is healthy.
func TestPostgres(t *testing.T) {
	t.Parallel()
	const healthy = "options: --health-cmd pg_isready --health-interval 300ms --health-timeout 5s --health-retries 100"
	o := workflow(t, `
on: push
defaults: {run: {shell: sh}}
jobs:
  host:
    runs-on: busybox
    strategy: {matrix: {port: [5432, 15432]}}
    services:
      db:
        image: postgres:15-alpine
        env: {POSTGRES_PASSWORD: secret}
        `+healthy+`
        ports: ["${{ matrix.port }}:5432"]
    steps:
      - run: |
          printf '\0\0\0\010\004\322\026\057' | nc -w 5 localhost ${{ matrix.port }} | head -c 1
          echo " from localhost:${{ job.services.db.ports['5432'] }}"
  inside:
    runs-on: busybox
    container: postgres:15-alpine
    services:
      db:
        image: postgres:15-alpine
        env: {POSTGRES_PASSWORD: secret, POSTGRES_DB: shop}
        `+healthy+`
    env: {PGPASSWORD: secret}
    steps:
      - run: psql -h db -p 5432 -U postgres -d shop -Atc "create table t (n int); insert into t values (42); select n from t"
      - run: psql -h db -U postgres -d shop -Atc "select n + 1 from t"
`).run(succeeded)
	// N: the server speaks PostgreSQL and has no TLS.
	o.wantLog("host.0", "N from localhost:5432\n")
	o.wantLog("host.1", "N from localhost:15432\n")
	if log := o.log("inside"); !strings.HasSuffix(log, "42\n43\n") {
		t.Errorf("log %q", log)
	}
}

// TestUnhealthyService fails its job, which says why and shows what the service printed; no step runs.
func TestUnhealthyService(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
on: push
jobs:
  sick:
    runs-on: busybox
    services:
      db:
        image: postgres:15-alpine
        env: {POSTGRES_PASSWORD: secret}
        options: --health-cmd "exit 1" --health-interval 200ms --health-retries 2
    steps: [{run: echo never, shell: sh}]
  dead:
    runs-on: busybox
    services:
      db:
        image: postgres:15-alpine
        options: --health-cmd "pg_isready" --health-interval 200ms --health-retries 50
    steps: [{run: echo never, shell: sh}]
`).run(failed)
	o.wantStates("sick FAILED, dead FAILED")
	for job, want := range map[string][]string{"sick": {"db", "health"}, "dead": {"db", "POSTGRES_PASSWORD"}} {
		o.wantLog(job, "")
		said := o.job(job).GetFailure().GetMessage() + o.must("logs", "--raw", o.run.GetId(), job)
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("job %s does not say %q:\n%s", job, w, said)
			}
		}
	}
}
