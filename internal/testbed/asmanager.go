package testbed

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// managerRights are the files with what the manager's account is allowed to do, and what limits it.
var managerRights = []string{
	"config/rbac/manager_role.yaml",
	"config/admission/manager_policy.yaml",
	"config/admission/manager_secrets_policy.yaml",
	"config/admission/manager_accounts_policy.yaml",
	"config/admission/manager_work_policy.yaml",
}

// AsManager lets the manager of WithControllers act as the account cairn-manager, with the shipped ClusterRole and the
// shipped admission policies, so that a controller that does more than they allow fails in its own tests.
func AsManager() Option {
	return func(o *options) { o.asManager = true }
}

// actAsManager returns access as the manager's account, once its rights and what limits them are in force.
func (b *Bed) actAsManager(ctx context.Context) (*rest.Config, error) {
	for _, name := range managerRights {
		if err := b.apply(ctx, name); err != nil {
			return nil, fmt.Errorf("apply %s: %w", name, err)
		}
	}
	config := rest.CopyConfig(b.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:cairn-system:cairn-manager"}
	c, err := client.New(config, client.Options{Scheme: b.Client.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("connect as the manager: %w", err)
	}
	var last error
	inForce := func(ctx context.Context) (bool, error) {
		last = c.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "probe"}},
			client.DryRunAll)
		return last != nil && strings.Contains(last.Error(), "is neither a part of the outbox"), nil
	}
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, Patience, true, inForce)
	if err != nil {
		return nil, fmt.Errorf("wait for the rights of the manager: %w: %w", err, last)
	}
	return config, nil
}
