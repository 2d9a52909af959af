package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// process is a manager.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it is gone
}

// startManager runs the real program against a cluster's proxy. It ends with the test.
func startManager(t testing.TB, c *cluster, data string) *process {
	t.Helper()
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf(
		`{"apiVersion":"v1","kind":"Config","current-context":"c","contexts":[{"name":"c","context":{"cluster":"c","user":"u"}}],
"clusters":[{"name":"c","cluster":{"server":%q}}],"users":[{"name":"u","user":{}}]}`, c.proxy.URL)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "log")
	log, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p := &process{done: make(chan struct{})}
	p.cmd = exec.Command(manager, "--mover-image=mover:test", "--data-dir="+data, "--metrics-addr=127.0.0.1:0",
		"--egress-allow=127.0.0.0/8,::1/128",
		"--health-addr=127.0.0.1:0", "--concurrent=16", "--kube-api-qps=500", "--kube-api-burst=1000")
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the manager said:\n%s", tailOf(name))
		}
	})
	return p
}

// kill sends SIGKILL and returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func tailOf(name string) string {
	text, _ := os.ReadFile(name)
	lines := strings.Split(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
