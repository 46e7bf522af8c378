/*
 * Listeners of one worker: accepting, the limit of --maxconn, and the choice of the worker.
 *
 * Policy. At maxconn, the process's or the listener's own, accepting pauses; clients wait in the kernel's backlog, and one accepted in
 * the meantime waits here, until a session ends. A socket that ends for good (ss -K, its interface was deleted) is opened again,
 * at once or every LISTENER_REPAIR_MS. Want of descriptors or memory pauses accepting for
 * LISTENER_RETRY_MS at a time. Nothing is shed, but for what one accept brings beyond the first
 * connection that has to wait here: those are reset and counted.
 */
#pragma once

#include <net/if.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "config/config.h"
#include "os/engine.h"
#include "os/timer.h"
#include "relay/load.h"
#include "relay/session.h"

#define LISTENER_RETRY_MS 100

/* How often a listener that failed is opened again, and one that is bound to an interface is looked at. */
#define LISTENER_REPAIR_MS 1000

/* timer.kind of a listener's timer: when it is due, listeners_resume(). */
#define LISTENER_TIMER 2

struct listener {
	struct forward *forward;
	int fd;			  /* -1: closed for good */
	bool armed;		  /* an accept is in flight */
	bool many;		  /* it is a multishot one */
	bool cancelled;		  /* its last event is awaited */
	bool full;		  /* pausing for --maxconn-forward */
	bool starved;		  /* pausing for want of descriptors */
	atomic_bool failed;	  /* it could not be opened again yet; read by the control thread */
	int fault;		  /* -errno, sock_listener_error(); 0: the socket is good */
	char device[IF_NAMESIZE]; /* that it is bound to; "": none */
	unsigned careful_count;	  /* connections to accept one by one, since it was */
	uint32_t backlog;
	uint32_t many_room; /* accept one by one when there is less room than this for sessions */
	int waiting_fd;	    /* accepted and not admitted yet; -1: none */
	struct timer timer;
};

struct listeners {
	struct listener *listeners; /* one per forward */
	unsigned count;
	struct sessions *sessions;
	struct engine **engines; /* of all workers */
	bool no_multishot;	 /* the kernel does not know it: before Linux 5.19 */
	bool full;		 /* pausing for maxconn */
	bool closing;
	struct timer look_timer; /* while one is bound to an interface */
	unsigned sending_count;	 /* connections on their way to other workers */
};

/*
 * Takes over the listening sockets `fds`, one per forward of `sessions`. `sessions` and
 * `engines` must outlive it. Returns 0 or -ENOMEM.
 */
int listeners_init(struct listeners *listeners, const int *fds, struct sessions *sessions,
		   struct engine **engines, unsigned worker_count);
void listeners_finish(struct listeners *listeners);

/* Begins to accept, or goes on with it where a pause may be over. Call when sessions have ended. */
void listeners_resume(struct listeners *listeners);

/* Pauses accepting for LISTENER_RETRY_MS: a session could not get the descriptors that it needs. */
void listeners_pause(struct listeners *listeners);

/* Takes ENGINE_OP_ACCEPT, ENGINE_OP_HANDED_OVER and ENGINE_OP_HAND_OVER_SENT. */
void listeners_on_event(struct listeners *listeners, const struct engine_event *event);

/*
 * Stops accepting for good: connections that wait in the backlog are served, then the sockets
 * closed.
 */
void listeners_close(struct listeners *listeners);

/* Whether that is done, and nothing is on its way to another worker. */
bool listeners_are_closed(const struct listeners *listeners);

/* listener_repair.c: sockets that have ended for good --------------------------------------------- */

/* Finds out which interface a listener is bound to, by --bind-device or by a link-local address. */
void listener_learn_device(struct listener *listener);

/* Looks for listeners whose interface is gone, every LISTENER_REPAIR_MS: sets `fault`. Returns whether there are any. */
bool listeners_find_lost(struct listeners *listeners);

/*
 * Opens a listener with a `fault`, and nothing in flight, again. Returns true, and `fault` is 0; or false, it has
 * failed, and its timer says when to try again. Logs both, the latter once.
 */
bool listener_repair(struct listeners *listeners, unsigned index);

/* Logs that a listening socket with `fault`, sock_listener_error(), was opened again (`error` 0) or could not be (-errno). */
void listener_tell_repair(const struct addr *listen, int fault, int error);
