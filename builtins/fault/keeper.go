package fault

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A keeper looks after a network fault that is in: it tells when the target or
// the fault is gone, and follows peers that move.
type keeper struct {
	lost  chan error
	stop  context.CancelFunc
	done  chan struct{}
	ended sync.Once
}

// kept is what a keeper looks after.
type kept interface {
	life(ctx context.Context, w World) (life, error)
	trouble() <-chan error
	moved(ctx context.Context, w World) error
}

// keep begins to look after a fault, until end. What the fault lives with is held
// before it returns: a target that ends right after is missed by nobody.
func keep(w World, f kept) *keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &keeper{lost: make(chan error, 1), stop: cancel, done: make(chan struct{})}
	p, err := f.life(ctx, w)
	if err != nil {
		k.lost <- err
		close(k.done)
		return k
	}
	go k.run(ctx, w, f, p)
	return k
}

func (k *keeper) run(ctx context.Context, w World, f kept, p life) {
	defer close(k.done)
	defer p.close()
	for beat := 0; ; beat++ {
		select {
		case <-ctx.Done():
			return
		case err, open := <-f.trouble():
			if open {
				k.lost <- err
			}
			return
		case <-time.After(poll):
		}
		if !p.alive() {
			k.lost <- errors.New("the target has ended or restarted, and its network with it")
			return
		}
		if beat%4 == 0 { // once a second
			if err := f.moved(ctx, w); err != nil && ctx.Err() == nil {
				k.lost <- err
				return
			}
		}
	}
}

// end returns once nothing is changed any more; nil had nothing to look after.
func (k *keeper) end() {
	if k == nil {
		return
	}
	k.ended.Do(func() {
		k.stop()
		<-k.done
		close(k.lost)
	})
}
