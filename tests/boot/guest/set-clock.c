/* set-clock SECONDS: since 1970, also beyond 2038, which a 32-bit BusyBox cannot. Compiled with -D_TIME_BITS=64. */
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct timespec at = { 0 };
	_Static_assert(sizeof at.tv_sec == 8, "64-bit time");
	if (argc != 2)
		return 64;
	at.tv_sec = atoll(argv[1]);
	if (clock_settime(CLOCK_REALTIME, &at) != 0)
		return 71;
	return time(NULL) >= at.tv_sec ? 0 : 1;
}
