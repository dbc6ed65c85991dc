/* link NAMESPACE ADDRESS NAMESPACE ADDRESS DELAY_US LOSS_PPM: a TUN device in each of two network namespaces, and between them a line that
 * delays every packet and loses some, always the same ones. What tc netem does, for kernels without it. Ends with stdin. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PACKETS 20000 /* that may be under way in one direction; more are lost */
#define LARGEST 2048

struct way {
  int from, to;
  unsigned first, count;
  struct { double due; int size; char data[LARGEST]; } *packets;
};

static void die(const char *what) {
  fprintf(stderr, "link: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static uint32_t chance(void) {
  static uint32_t state = 1;
  state ^= state << 13;
  state ^= state >> 17;
  return state ^= state << 5;
}

/* A device with this address in that namespace; this process is in it afterwards. */
static int device(const char *namespace, const char *address) {
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", namespace);
  int there = open(path, O_RDONLY), tun, ask = -1;
  struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  struct sockaddr_in *in = (struct sockaddr_in *)&r.ifr_addr;
  if (there < 0 || setns(there, CLONE_NEWNET) < 0) die(path);
  if ((tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK)) < 0) die("/dev/net/tun");
  strcpy(r.ifr_name, "bench0");
  if (ioctl(tun, TUNSETIFF, &r) < 0 || (ask = socket(AF_INET, SOCK_DGRAM, 0)) < 0) die("a TUN device");
  in->sin_family = AF_INET;
  if (inet_pton(AF_INET, address, &in->sin_addr) != 1 || ioctl(ask, SIOCSIFADDR, &r) < 0) die(address);
  inet_pton(AF_INET, "255.255.255.0", &in->sin_addr);
  if (ioctl(ask, SIOCSIFNETMASK, &r) < 0) die("its mask");
  r.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(ask, SIOCSIFFLAGS, &r) < 0) die("up");
  close(ask);
  close(there);
  return tun;
}

static void take(struct way *w, double delay, uint32_t loss) {
  char lost[LARGEST];
  for (;;) {
    int isLost = chance() % 1000000 < loss || w->count == PACKETS;
    unsigned at = (w->first + w->count) % PACKETS;
    int size = read(w->from, isLost ? lost : w->packets[at].data, LARGEST);
    if (size <= 0) return;
    if (isLost) continue;
    w->packets[at].size = size;
    w->packets[at].due = now_us() + delay;
    w->count++;
  }
}

/* Returns when the next packet is due, or 0. */
static double give(struct way *w) {
  for (; w->count > 0; w->count--, w->first = (w->first + 1) % PACKETS) {
    if (w->packets[w->first].due > now_us()) return w->packets[w->first].due;
    if (write(w->to, w->packets[w->first].data, w->packets[w->first].size) < 0) continue; /* its queue is full: lost */
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  int a = device(argv[1], argv[2]), b = device(argv[3], argv[4]);
  struct way ways[2] = {{.from = a, .to = b}, {.from = b, .to = a}};
  for (int at = 0; at < 2; at++)
    if (!(ways[at].packets = calloc(PACKETS, sizeof *ways[at].packets))) die("memory");
  puts("up");
  fflush(stdout);
  for (;;) {
    double next = 0, now;
    for (int at = 0; at < 2; at++) {
      double due = give(&ways[at]);
      if (due > 0 && (next == 0 || due < next)) next = due;
    }
    now = now_us();
    struct timespec rest = {.tv_nsec = next > now ? (next - now) * 1000 : 0};
    struct pollfd fds[] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    if (ppoll(fds, 3, next > 0 ? &rest : NULL, NULL) < 0 && errno != EINTR) die("poll");
    for (int at = 0; at < 2; at++) take(&ways[at], atof(argv[5]), atoi(argv[6]));
    if (fds[2].revents) return 0;
  }
}
