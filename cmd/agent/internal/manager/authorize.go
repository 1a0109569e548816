package manager

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// authorized lets those read metrics whose token the API server knows, and who may get the path as a nonResourceURL.
// controller-runtime has the same with the whole of k8s.io/apiserver behind it.
func authorized(cfg *rest.Config, hc *http.Client) (metricsserver.Filter, error) {
	c, err := kubernetes.NewForConfigAndClient(cfg, hc)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	g := &gate{ask: c, answers: map[[sha256.Size]byte]answer{}}
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch err := g.admit(r); {
			case err == nil:
				next.ServeHTTP(w, r)
			case errors.Is(err, errNobody):
				http.Error(w, "a bearer token is needed", http.StatusUnauthorized)
			case errors.Is(err, errForbidden):
				http.Error(w, "reading "+r.URL.Path+" is not allowed to you", http.StatusForbidden)
			default:
				log.Error(err, "who may read metrics cannot be asked")
				http.Error(w, "who may read this cannot be asked", http.StatusServiceUnavailable)
			}
		}), nil
	}, nil
}

var (
	errNobody    = errors.New("not authenticated")
	errForbidden = errors.New("not authorized")
)

// remember is how long an answer holds: Prometheus asks every half minute, and a right that is taken away may work on for
// as long.
const remember = time.Minute

type gate struct {
	ask     kubernetes.Interface
	mu      sync.Mutex
	answers map[[sha256.Size]byte]answer
}

type answer struct {
	err   error
	until time.Time
}

// admit is nil for who may, errNobody or errForbidden for who may not, and something else where that cannot be told.
func (g *gate) admit(r *http.Request) error {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return errNobody
	}
	key := sha256.Sum256([]byte(r.Method + " " + r.URL.Path + " " + token))
	now := time.Now()
	g.mu.Lock()
	known, ok := g.answers[key]
	g.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.err
	}
	err := g.review(r, token)
	if err != nil && !errors.Is(err, errNobody) && !errors.Is(err, errForbidden) {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.answers) >= 1000 { // of somebody who tries tokens
		clear(g.answers)
	}
	g.answers[key] = answer{err, now.Add(remember)}
	return err
}

func (g *gate) review(r *http.Request, token string) error {
	who, err := g.ask.AuthenticationV1().TokenReviews().Create(r.Context(),
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("review a token: %w", err)
	}
	if !who.Status.Authenticated {
		return errNobody
	}
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range who.Status.User.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	may, err := g.ask.AuthorizationV1().SubjectAccessReviews().Create(r.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: who.Status.User.Username, UID: who.Status.User.UID, Groups: who.Status.User.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: r.URL.Path, Verb: strings.ToLower(r.Method)},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("review the access of %s: %w", who.Status.User.Username, err)
	}
	if !may.Status.Allowed {
		return errForbidden
	}
	return nil
}
