package cluster

import (
	"log"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// child is one supervised process.
type child struct {
	component
	logFile, pidFile string
	holdFile         string // the process must not run while this exists; "" for none

	quit chan struct{} // closed to stop it for good
	done chan struct{} // closed when it has ended for good
}

// start runs the process and restarts it whenever it exits, until stop.
func (ch *child) start() {
	ch.quit, ch.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ch.done)
		for backoff := time.Second; ; backoff = min(2*backoff, 10*time.Second) {
			if !ch.waitReleased() {
				return
			}
			begin := time.Now()
			err := ch.run()
			held := ch.held()
			if held || time.Since(begin) > time.Minute {
				backoff = time.Second
			}
			select {
			case <-ch.quit:
				return
			default:
				if held {
					log.Printf("%s is held", ch.name)
					continue
				}
				log.Printf("%s exited (%v); restarting in %v", ch.name, err, backoff)
			}
			select {
			case <-ch.quit:
				return
			case <-time.After(backoff):
			}
		}
	}()
}

// rarelyCollecting adds to an environment how the components collect garbage, unless it says so itself. With Go's
// defaults that takes up to a third of the API server's time, and two processors run all of the cluster.
func rarelyCollecting(environ []string) []string {
	return append([]string{"GOGC=400", "GOMEMLIMIT=3GiB"}, environ...)
}

// run runs the process once. When quit is closed, it ends the process.
func (ch *child) run() error {
	out, err := os.OpenFile(ch.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(ch.path, ch.args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = rarelyCollecting(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a ^C in the terminal is not for it
	if err := cmd.Start(); err != nil {
		return err
	}
	exited, ended := make(chan error, 1), make(chan struct{})
	go func() { exited <- cmd.Wait() }()
	defer close(ended)
	go ch.killWhenHeld(cmd.Process, ended)
	if err := os.WriteFile(ch.pidFile, []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		log.Printf("%s: note its process: %v", ch.name, err)
	}
	defer os.Remove(ch.pidFile)
	select {
	case err := <-exited:
		return err
	case <-ch.quit:
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case err := <-exited:
		return err
	case <-time.After(ch.grace):
		log.Printf("%s has not ended on SIGTERM; killing it", ch.name)
		_ = cmd.Process.Kill()
		return <-exited
	}
}

// stop ends the process and returns when it is gone. Call it once.
func (ch *child) stop() {
	begin := time.Now()
	close(ch.quit)
	<-ch.done
	log.Printf("%s ended after %v", ch.name, time.Since(begin).Round(10*time.Millisecond))
}
