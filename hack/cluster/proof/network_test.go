package proof

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

func serviceAndDNS(t *testing.T) {
	// From another pod, and (hairpin) from the service's own pod.
	apply(t, job("client", "", "get http://app."+ns+".svc.cluster.local/file"))
	field(t, 60*time.Second, "job/client", "{.status.succeeded}", "1")
	equal(t, must(t, "", "logs", "job/client"), "spoiled")
	equal(t, toolbox(t, "get", "http://app/file"), "spoiled")
	toolbox(t, "lookup", "kubernetes.default")
}

func podReachesHost(t *testing.T) {
	// A server of the test process on the node's address, as an object store
	// for backups would be.
	node := must(t, "", "get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
	l, err := net.Listen("tcp", net.JoinHostPort(node, "0"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "from the host") }),
	}
	go srv.Serve(l)
	defer srv.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	equal(t, toolbox(t, "get", "http://host.cairn.internal:"+port), "from the host")
}

func portForward(t *testing.T) {
	cmd := exec.Command("kubectl", "-n", ns, "port-forward", "deploy/app", "18080:8080")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	eventually(t, 15*time.Second, "port-forward", func() error { return ask("http://127.0.0.1:18080/file") })
}

// ask returns nil if a GET is answered with 200.
func ask(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
