package telemetry

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func scrape(t *testing.T, addr string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", addr, res.Status, err)
	}
	return string(b)
}

func TestMetrics(t *testing.T) {
	id := runID(t, project(t, "on: push\njobs: {a: {runs-on: busybox, steps: [{shell: sh, run: echo hello}]}}\n"), 0)
	col.await(t, id, 4) // the agent is done with it too
	for addr, want := range map[string][]string{
		sys.CoordinatorMetrics(): {
			`slipway_runs_ended_total{state="succeeded"} `, `slipway_jobs_ended_total{state="succeeded"} `, `slipway_run_seconds_count{state="succeeded"} `,
			"slipway_leading 1\n", "slipway_agents_online 1\n", "slipway_jobs_queued 0\n", "slipway_log_bytes_total ", "slipway_data_free_bytes ",
			`slipway_build_info{version="`, `grpc_server_handled_total{grpc_code="OK",grpc_method="SubmitRun"`,
		},
		sys.AgentMetrics(): {
			`slipway_agent_attempts_total{result="success"} `, "slipway_agent_connected 1\n", "slipway_agent_slots 4\n", "slipway_agent_prepare_seconds_count ",
			"slipway_agent_disk_free_bytes ", "slipway_agent_step_seconds_count ", "process_resident_memory_bytes ",
		},
	} {
		text := scrape(t, addr)
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("http://%s/metrics does not say %q", addr, w)
			}
		}
	}
}
